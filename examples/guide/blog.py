"""The blog of the guide: a Django site in one file."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY=os.environ["SECRET_KEY"])

TITLE = "On teapots"


def page(request):
    return HttpResponse(f"{TITLE}\n", content_type="text/plain")


urlpatterns = [path("", page)]
app = get_wsgi_application()
