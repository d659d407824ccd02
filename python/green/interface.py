"""Which of Python's two interfaces an application speaks, where that takes a closer look."""

import functools
import inspect


def _makes_coroutines(function):
    # asyncio's mark: of functions that are compiled, or wrapped by asgiref.
    return inspect.iscoroutinefunction(function) or hasattr(function, "_is_coroutine")


def interface_of(application):
    """"asgi", "wsgi", or "asgi2" for a callable that takes a scope and returns another."""
    while isinstance(application, functools.partial):
        application = application.func
    if inspect.isclass(application):
        if hasattr(application, "__await__"):
            return "asgi"
        return "asgi2" if _makes_coroutines(getattr(application, "__call__", None)) else "wsgi"
    if _makes_coroutines(application) or _makes_coroutines(getattr(application, "__call__", None)):
        return "asgi"
    # Decorators and compiled functions may hide that a coroutine is what comes back.
    try:
        parameters = inspect.signature(application).parameters.values()
    except (TypeError, ValueError):
        return "wsgi"
    needed = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
              and one.default is one.empty]
    if len(needed) == 3:
        return "asgi"
    takes_more = any(one.kind is one.VAR_POSITIONAL or one.kind is not one.KEYWORD_ONLY and one.default is not one.empty
                     for one in parameters)
    return "asgi2" if len(needed) == 1 and not takes_more else "wsgi"
