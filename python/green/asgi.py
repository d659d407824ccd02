"""What a worker does around an ASGI application in Python: none of it is on a request's way."""

import asyncio
import contextlib
import inspect
import threading
import traceback

# A task that does not end when it is cancelled holds up a worker's end for so long, in seconds.
LAST_WAIT = 1.0


def make_loop(name, factory=None):
    """The loop of this thread from here on. "auto": uvloop's, where it is installed."""
    if name == "auto":
        with contextlib.suppress(ImportError):
            import uvloop
            factory = uvloop.new_event_loop
    elif name == "uvloop":
        import uvloop
        factory = uvloop.new_event_loop
    loop = (factory or asyncio.new_event_loop)()
    if not isinstance(loop, asyncio.AbstractEventLoop):
        raise TypeError(f"loop: the factory made a {type(loop).__name__}, which is no asyncio event loop")
    asyncio.set_event_loop(loop)
    return loop


def import_loop(name):
    """What make_loop() will need, before the workers are forked."""
    if name in ("auto", "uvloop"):
        with contextlib.suppress(ImportError):
            import uvloop  # noqa: F401


def plain_task_type(loop):
    """What the loop's create_task() calls where there is no task factory; None of a loop that has one of its own."""
    create = getattr(type(loop), "create_task", None)
    is_theirs = getattr(create, "__module__", None) in ("asyncio.base_events", "uvloop.loop")
    is_replaced = hasattr(create, "__wrapped__") or "create_task" in getattr(loop, "__dict__", {})
    return asyncio.Task if is_theirs and not is_replaced else None


def task_maker(loop):
    """loop.create_task, called with a name: a loop of the site's own may know of none."""
    create = loop.create_task
    try:
        inspect.signature(create).bind(None, name="")
    except ValueError:  # of one written in C
        return create
    except TypeError:
        def create_named(coroutine, *, name):
            task = create(coroutine)
            if hasattr(task, "set_name"):
                task.set_name(name)
            return task
        return create_named
    return create


def close_loop(loop):
    """Cancels what still runs there, waits for it a while, and closes the loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=LAST_WAIT))
    loop.run_until_complete(loop.shutdown_asyncgens())
    asyncio.set_event_loop(None)
    loop.close()


async def call_on_thread(thread, call, *message):
    """receive() or send() of a request, called on another thread than its event loop's."""
    if threading.get_ident() != thread:
        raise RuntimeError(f"{call!r} was awaited on another thread than its event loop's: "
                           "asyncio.run_coroutine_threadsafe() awaits it there")
    return await call(*message)


class StartUpFailed(Exception):
    """The application said so; the text is its own."""


class Lifespan:
    """The lifespan protocol: one call of the application for as long as its worker serves."""

    def __init__(self, application, mode):
        self.application = application
        self.mode = mode
        self.state = {}
        self.task = None
        self.events = asyncio.Queue()
        self.answer = None

    async def start(self):
        """Returns once the application may be asked; raises what keeps it from that."""
        if self.mode == "off":
            return
        try:
            said = await self._ask("lifespan.startup")
        except Exception:
            if self.mode == "on":
                raise
            # As ASGI has it: an application that raises knows nothing of lifespans.
            said = None
        if said is None:
            self.task = None
            if self.mode == "on":
                raise StartUpFailed('lifespan = "on", but the application returned without lifespan.startup.complete')
        elif said["type"] == "lifespan.startup.failed":
            raise StartUpFailed(said.get("message") or "the application sent lifespan.startup.failed")

    async def stop(self, limit):
        """None, or what went wrong."""
        if self.task is None:
            return None
        if self.task.done():
            return None if self.task.cancelled() else self._text_of(self.task.exception())
        try:
            said = await asyncio.wait_for(self._ask("lifespan.shutdown"), limit)
        except asyncio.TimeoutError:
            return f"not complete after {limit:g} s"
        except Exception as error:
            return self._text_of(error)
        if said is not None and said["type"] == "lifespan.shutdown.failed":
            return said.get("message") or "the application sent lifespan.shutdown.failed"
        return None

    @staticmethod
    def _text_of(error):
        return error and "".join(traceback.format_exception(error)).rstrip()

    async def _ask(self, kind):
        """What the application answers to this event; None if it returned first."""
        self.answer = asyncio.get_running_loop().create_future()
        self.events.put_nowait({"type": kind})
        if self.task is None:
            self.task = asyncio.create_task(self._run(), name="lifespan")
        await asyncio.wait({self.task, self.answer}, return_when=asyncio.FIRST_COMPLETED)
        if self.answer.done():
            return self.answer.result()
        self.task.result()
        return None

    async def _run(self):
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self.application(scope, self.events.get, self._send)

    async def _send(self, message):
        kind = message["type"]
        if not isinstance(kind, str) or kind.rpartition(".")[0] not in ("lifespan.startup", "lifespan.shutdown"):
            raise ValueError(f"lifespan: there is no message of type {kind!r}")
        if self.answer is None or self.answer.done():
            raise RuntimeError(f"lifespan: {kind} was not asked for")
        self.answer.set_result(message)
