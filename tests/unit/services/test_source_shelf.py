"""Folders of templates in storage: what is kept of them is what the template was read with."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from factory_runtime.artifacts.local import LocalArtifactStorage
from factory_runtime.domain import folder_stamp
from factory_runtime.domain.template import Template
from factory_runtime.domain.tree import pack_folder
from factory_runtime.services.source_shelf import SourceShelf
from tests.builders import TENANT, a_template


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Template:
    """As it was read a while ago, from a folder that counts as settled at once."""
    monkeypatch.setattr(folder_stamp, "_SETTLED_NANOSECONDS", -1)
    folder = tmp_path / "template"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "readme.txt").write_text("as it was")
    return a_template(folder=folder, digest=digest_of(folder))


def digest_of(folder: Path) -> str:
    return pack_folder(folder, io.BytesIO()).digest


def test_an_edit_behind_the_reading_of_a_template_is_not_kept_for_its_other_runs(
    tmp_path: Path, template: Template
):
    shelf, files = SourceShelf(LocalArtifactStorage(tmp_path / "bodies")), template.folder / "files"
    as_it_was = digest_of(files)
    (files / "readme.txt").write_text("edited")
    assert shelf.put(TENANT, files, template) == digest_of(files)
    (files / "readme.txt").write_text("as it was")
    assert shelf.put(TENANT, files, template) == as_it_was


def test_a_folder_is_put_again_where_its_body_is_gone_and_for_each_tenant(
    tmp_path: Path, template: Template
):
    storage = LocalArtifactStorage(tmp_path / "bodies")
    shelf, files = SourceShelf(storage), template.folder / "files"
    digest = shelf.put(TENANT, files, template)
    storage.delete(TENANT, digest)
    assert shelf.put(TENANT, files, template) == digest
    assert storage.verify(TENANT, digest)
    assert shelf.put("other", files, template) == digest
    assert storage.verify("other", digest)
