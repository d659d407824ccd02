"""A Django site in one file, with what test_frameworks.py asks of each."""

import hashlib
import logging

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a test's",
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    # A production site's own: Django's default would mail the traceback.
    LOGGING={"version": 1, "disable_existing_loggers": False,
             "handlers": {"console": {"class": "logging.StreamHandler"}},
             "loggers": {"django.request": {"handlers": ["console"], "level": logging.ERROR}}},
)
django.setup()


def form(request):
    return HttpResponse(f"hello {request.POST['name']}")


def upload(request):
    digest = hashlib.sha256()
    for piece in request.FILES["file"].chunks():
        digest.update(piece)
    return HttpResponse(f"{request.FILES['file'].name} {digest.hexdigest()}")


def download(request):
    return StreamingHttpResponse(b"%08d" % i * 1024 for i in range(int(request.GET["parts"])))


def login(request):
    request.session["user"] = request.POST["name"]
    return HttpResponse("welcome")


def user(request):
    return HttpResponse(request.session.get("user", "nobody"))


def fail(request):
    raise RuntimeError("failed on purpose")


urlpatterns = [path("form", form), path("upload", upload), path("download", download), path("login", login),
               path("user", user), path("raise", fail)]
app = get_wsgi_application()
