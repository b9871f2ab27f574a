"""A site of Django under gunicorn, with a database that a DB of its master replicates: what an application looks like.

gunicorn loads it by `--preload`, so this module is imported once, in the master, and its workers are forked from there. It is
the configuration of gunicorn, too. `SITE_DATABASE` is the path, `SITE_VFS` the VFS of Django's connections. `SITE_OPENS` says
where the DB is opened: by `import`, before there is any worker, or `when_ready`, by a hook of the server.
"""

import os
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path as route

import ltxcore

DATABASE = Path(os.environ["SITE_DATABASE"])
VFS = os.environ["SITE_VFS"]
OPENS = os.environ["SITE_OPENS"]
WORKERS = 4

db = ltxcore.DB(DATABASE, replica=DATABASE.with_name("replica"), monitor_interval=0.1)


def add(request: HttpRequest, key: str) -> HttpResponse:
    """One transaction: whoever gets the answer may rely on it."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO done (key, worker) VALUES (%s, %s)", [key, os.getpid()])
        cursor.execute("SELECT count(*) FROM done")
        return HttpResponse(str(cursor.fetchone()[0]))


class Said:
    """The text of an exception is the answer, for the test."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse:
        return HttpResponse(repr(error), status=500)


urlpatterns = [route("add/<str:key>", add)]


def configured() -> WSGIHandler:
    if VFS != "unix":
        ltxcore.OSVFS(name=VFS).register()
    options = {"timeout": 20, "transaction_mode": "IMMEDIATE"}
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{DATABASE.as_uri()}?vfs={VFS}",
        "ATOMIC_REQUESTS": True,
        "CONN_MAX_AGE": 3,
        "OPTIONS": options,
    }
    settings.configure(
        SECRET_KEY="x",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[f"{__name__}.Said"],
        DATABASES={"default": database},
        USE_TZ=True,
    )
    django.setup()
    return WSGIHandler()


# The configuration of gunicorn, which reads it from this module before it asks for the application.
preload_app, workers, worker_class, graceful_timeout, timeout = True, WORKERS, "sync", 20, 60


def when_ready(server: Any) -> None:
    if OPENS == "when_ready":
        db.open()


def on_exit(server: Any) -> None:
    """Where it was opened by an import, the DB is left to the end of the interpreter."""
    if OPENS == "when_ready":
        db.close()


application = configured()
if OPENS == "import":
    db.open()
