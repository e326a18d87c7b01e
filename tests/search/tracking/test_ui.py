"""What is said while MLflow's page is served."""

from __future__ import annotations

from types import SimpleNamespace

from search.tracking import ui


def test_the_address_stands_alone_on_its_line(tmp_path, monkeypatch):
    said: list[str] = []
    server = SimpleNamespace(wait=lambda timeout=None: None, returncode=0, pid=0)
    monkeypatch.setattr(ui.subprocess, "Popen", lambda *_, **__: server)
    monkeypatch.setattr(ui, "_wait_for", lambda *_: True)
    monkeypatch.setattr(ui, "_end", lambda _: None)
    monkeypatch.setattr(ui, "pages", lambda folder, uri, port: [f"http://127.0.0.1:{port}/#/run"])
    assert ui.serve(tmp_path, tmp_path, None, 0, said.append) == 0
    first, address, last = said
    assert first == "starting MLflow …"
    assert address.startswith("http://127.0.0.1:")
    assert address.endswith("/#/run")
    assert "Ctrl-C" in last
