"""Falcon on ASGI: the same few things."""

import hashlib

import falcon.asgi


class Form:
    async def on_post(self, request, response):
        response.text = f"hello {(await request.get_media())['name']}"


class Upload:
    async def on_post(self, request, response):
        async for part in await request.get_media():
            if part.name == "file":
                digest = hashlib.sha256()
                async for piece in part.stream:
                    digest.update(piece)
                response.text = f"{part.filename} {digest.hexdigest()}"


class Download:
    async def on_get(self, request, response):
        async def content():
            for i in range(request.get_param_as_int("parts")):
                yield b"%08d" % i * 1024
        response.stream = content()


class User:
    async def on_get(self, request, response):
        response.text = request.cookies.get("user", "nobody")


class Fail:
    async def on_get(self, request, response):
        raise RuntimeError("failed on purpose")


app = falcon.asgi.App()
for path, resource in (("/form", Form()), ("/upload", Upload()), ("/download", Download()), ("/user", User()), ("/raise", Fail())):
    app.add_route(path, resource)
