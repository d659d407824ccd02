"""A Bottle site with what test_frameworks.py asks of each."""

import hashlib

from bottle import Bottle, request, response

SECRET = "a test's"
app = Bottle()


@app.post("/form")
def form():
    return f"hello {request.forms.getunicode('name')}"


@app.post("/upload")
def upload():
    file = request.files["file"]
    return f"{file.raw_filename} {hashlib.file_digest(file.file, 'sha256').hexdigest()}"


@app.get("/download")
def download():
    return (b"%08d" % i * 1024 for i in range(int(request.query["parts"])))


@app.post("/login")
def login():
    response.set_cookie("user", request.forms.getunicode("name"), secret=SECRET)
    return "welcome"


@app.get("/user")
def user():
    return request.get_cookie("user", "nobody", secret=SECRET)


@app.get("/raise")
def fail():
    raise RuntimeError("failed on purpose")
