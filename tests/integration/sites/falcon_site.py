"""A Falcon site with what test_frameworks.py asks of each. It has no session: its cookie is the name."""

import hashlib

import falcon


class Form:
    def on_post(self, request, response):
        response.text = f"hello {request.get_media()['name']}"


class Upload:
    def on_post(self, request, response):
        for part in request.get_media():
            if part.name == "file":
                digest = hashlib.sha256()
                while piece := part.stream.read(65536):
                    digest.update(piece)
                response.text = f"{part.filename} {digest.hexdigest()}"


class Download:
    def on_get(self, request, response):
        response.stream = (b"%08d" % i * 1024 for i in range(request.get_param_as_int("parts")))


class Login:
    def on_post(self, request, response):
        response.set_cookie("user", request.get_media()["name"], secure=False)
        response.text = "welcome"


class User:
    def on_get(self, request, response):
        response.text = request.cookies.get("user", "nobody")


class Fail:
    def on_get(self, request, response):
        raise RuntimeError("failed on purpose")


app = falcon.App()
for path, resource in (("/form", Form()), ("/upload", Upload()), ("/download", Download()), ("/login", Login()),
                       ("/user", User()), ("/raise", Fail())):
    app.add_route(path, resource)
