"""A Flask site with what test_frameworks.py asks of each."""

import hashlib

from flask import Flask, Response, request, session

app = Flask(__name__)
app.secret_key = "a test's"


@app.post("/form")
def form():
    return f"hello {request.form['name']}"


@app.post("/upload")
def upload():
    digest = hashlib.file_digest(request.files["file"].stream, "sha256")
    return f"{request.files['file'].filename} {digest.hexdigest()}"


@app.get("/download")
def download():
    return Response(b"%08d" % i * 1024 for i in range(int(request.args["parts"])))


@app.post("/login")
def login():
    session["user"] = request.form["name"]
    return "welcome"


@app.get("/user")
def user():
    return session.get("user", "nobody")


@app.get("/raise")
def fail():
    raise RuntimeError("failed on purpose")
