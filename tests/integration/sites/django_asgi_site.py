"""A Django site on ASGI, with what the tests of the frameworks ask of each: views of both kinds."""

import hashlib
import logging

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a test's",
    LOGGING={"version": 1, "disable_existing_loggers": False,
             "handlers": {"console": {"class": "logging.StreamHandler"}},
             "loggers": {"django.request": {"handlers": ["console"], "level": logging.ERROR}}},
)
django.setup()


async def form(request):
    return HttpResponse(f"hello {request.POST['name']}")


def upload(request):
    digest = hashlib.sha256()
    for piece in request.FILES["file"].chunks():
        digest.update(piece)
    return HttpResponse(f"{request.FILES['file'].name} {digest.hexdigest()}")


async def download(request):
    async def content():
        for i in range(int(request.GET["parts"])):
            yield b"%08d" % i * 1024
    return StreamingHttpResponse(content())


def user(request):
    return HttpResponse(request.COOKIES.get("user", "nobody"))


async def fail(request):
    raise RuntimeError("failed on purpose")


urlpatterns = [path("form", form), path("upload", upload), path("download", download), path("user", user), path("raise", fail)]
app = get_asgi_application()
