"""A guest book: a page, a form and JSON, in one file.

Each worker is a process of its own, so what must outlive a request goes to a database. SQLite is one.
"""

import os
import sqlite3
from pathlib import Path

from flask import Flask, g, jsonify, redirect, render_template_string, request, url_for

app = Flask(__name__)

DATABASE = Path(os.environ.get("GUESTBOOK", Path(app.root_path) / "guestbook.sqlite"))

PAGE = """<!doctype html>
<html lang="en">
<title>Guest book</title>
<style>body { font: 1.1rem/1.5 sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }</style>
<h1>Guest book</h1>
<form method="post" action="{{ url_for('sign') }}">
  <input name="name" placeholder="Your name" required maxlength="80">
  <input name="message" placeholder="A message" required maxlength="500">
  <button>Sign</button>
</form>
<ul>
{% for entry in entries %}  <li><b>{{ entry.name }}</b>: {{ entry.message }}</li>
{% else %}  <li>Nobody has signed yet.</li>
{% endfor %}</ul>
<p>Served by worker {{ pid }}. As JSON: <a href="{{ url_for('entries') }}">{{ url_for('entries') }}</a></p>
</html>
"""


def database():
    if "database" not in g:
        g.database = sqlite3.connect(DATABASE)
        g.database.row_factory = sqlite3.Row
        g.database.execute(
            "CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, name TEXT NOT NULL, message TEXT NOT NULL)"
        )
    return g.database


@app.teardown_appcontext
def close_database(_error):
    if "database" in g:
        g.pop("database").close()


def all_entries():
    return database().execute("SELECT id, name, message FROM entry ORDER BY id DESC LIMIT 50").fetchall()


@app.get("/")
def page():
    return render_template_string(PAGE, entries=all_entries(), pid=os.getpid())


@app.post("/")
def sign():
    name = request.form.get("name", "").strip()
    message = request.form.get("message", "").strip()
    if not name or not message:
        return "A name and a message, please.\n", 400
    with database() as connection:
        connection.execute("INSERT INTO entry (name, message) VALUES (?, ?)", (name[:80], message[:500]))
    return redirect(url_for("page"), code=303)


@app.get("/api/entries")
def entries():
    return jsonify(entries=[dict(entry) for entry in all_entries()], worker=os.getpid())
