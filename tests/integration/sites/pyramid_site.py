"""A Pyramid site with what test_frameworks.py asks of each."""

import hashlib

from pyramid.config import Configurator
from pyramid.response import Response
from pyramid.session import JSONSerializer, SignedCookieSessionFactory


def form(request):
    return Response(f"hello {request.POST['name']}")


def upload(request):
    file = request.POST["file"]
    return Response(f"{file.filename} {hashlib.file_digest(file.file, 'sha256').hexdigest()}")


def download(request):
    return Response(app_iter=(b"%08d" % i * 1024 for i in range(int(request.GET["parts"]))))


def login(request):
    request.session["user"] = request.POST["name"]
    return Response("welcome")


def user(request):
    return Response(request.session.get("user", "nobody"))


def fail(request):
    raise RuntimeError("failed on purpose")


with Configurator(session_factory=SignedCookieSessionFactory("a test's", serializer=JSONSerializer())) as config:
    for view, path in ((form, "/form"), (upload, "/upload"), (download, "/download"), (login, "/login"),
                       (user, "/user"), (fail, "/raise")):
        config.add_route(path, path)
        config.add_view(view, route_name=path)
    app = config.make_wsgi_app()
