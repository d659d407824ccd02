"""The shop of the guide: a page, and a checkout that waits at a till which nobody opens."""

import threading

from flask import Flask

app = Flask(__name__)
till = threading.Event()


@app.get("/")
def page():
    return "Three teapots left.\n"


@app.get("/checkout")
def checkout():
    app.logger.error("a customer waits at the till")
    till.wait()
    return "Thank you.\n"
