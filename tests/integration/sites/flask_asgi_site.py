"""A Flask site by asgiref's adapter: the same few things, from its threads."""

import hashlib

from asgiref.wsgi import WsgiToAsgi
from flask import Flask, Response, request

site = Flask(__name__)


@site.post("/form")
def form():
    return f"hello {request.form['name']}"


@site.post("/upload")
def upload():
    digest = hashlib.file_digest(request.files["file"].stream, "sha256")
    return f"{request.files['file'].filename} {digest.hexdigest()}"


@site.get("/download")
def download():
    return Response(b"%08d" % i * 1024 for i in range(int(request.args["parts"])))


@site.get("/user")
def user():
    return request.cookies.get("user", "nobody")


@site.get("/raise")
def fail():
    raise RuntimeError("failed on purpose")


app = WsgiToAsgi(site)
