"""Every command of the command line."""

from __future__ import annotations

from zhenxian.cli import (
    calls,
    clock,
    demo,
    displays,
    doctor,
    fleet,
    inspect,
    keys,
    openapi,
    orders,
    pki,
    registry,
    replay,
    serve,
    simulate,
)
from zhenxian.cli.group import as_paragraphs, command_line

app = command_line()
serve.register(app)
calls.register(app)
inspect.register(app)
app.add_typer(pki.app, name="pki")
app.add_typer(keys.app, name="key")
app.add_typer(registry.app, name="registry")
app.add_typer(orders.app, name="orders")
app.add_typer(fleet.app, name="fleet")
app.add_typer(clock.app, name="clock")
app.add_typer(displays.app, name="displays")
doctor.register(app)
openapi.register(app)
demo.register(app)
simulate.register(app)
replay.register(app)
as_paragraphs(app)
