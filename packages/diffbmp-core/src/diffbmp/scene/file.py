"""Saving and loading scenes: one file ``*.diffbmp``, safe to load from a stranger (``docs/scene-format.md``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.files import atomic_path
from diffbmp.paths import require_file
from diffbmp.primitives.primitive import Primitive
from diffbmp.rendering.selection import choose_device
from diffbmp.scene import schema
from diffbmp.scene.archive import Archive, SceneFileError, reason, write_archive
from diffbmp.scene.encoding import MOST_JSON_BYTES, decode_json, decode_tensors, encode_json, encode_tensors
from diffbmp.scene.loading import check_entries, scene_from_entries
from diffbmp.scene.saving import scene_entries
from diffbmp.scene.scene import Scene

__all__ = ["FitState", "load_fit_state", "load_scene", "save_scene"]


@dataclass(frozen=True)
class FitState:
    """What a fit knows besides its scene, kept in the same file so that the fit can go on.

    Attributes:
        metadata: JSON values.
        tensors: by name; of any device, loaded on the CPU. NaN and infinity are kept: they are the fit's to judge.
    """

    metadata: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


def save_scene(scene: Scene, path: str | Path, *, fit: FitState | None = None) -> None:
    """Write a scene to one file; loading it gives every tensor back bit by bit.

    The same scene gives the same bytes. Nothing is left half written.

    Args:
        scene: what to save, on any device.
        path: where to, ``*.diffbmp`` by custom.
        fit: the state of the fit that the scene is part of, for a checkpoint.

    Raises:
        DiffbmpError: where the file cannot be written, or the scene holds what a file cannot: NaN or infinity, an
            atlas that is blurred, metadata that is not JSON, more than 4 GB.
    """
    try:
        entries = scene_entries(scene)
        if fit is not None:
            entries[schema.FIT] = encode_json(fit.metadata, schema.FIT)
            entries[schema.FIT_TENSORS] = encode_tensors(fit.tensors)
        with atomic_path(path) as temporary:
            write_archive(temporary, entries)
    except SceneFileError as error:
        raise DiffbmpError(f"Scene '{path}' {error}.") from error
    except ValidationError as error:
        raise DiffbmpError(f"Scene '{path}' cannot be saved: {schema.what_is_wrong(error)}.") from error


def load_scene(path: str | Path, *, device: str = "cpu", primitives: Sequence[type[Primitive]] = ()) -> Scene:
    """Read a scene that ``save_scene`` wrote; the file may be a stranger's.

    Args:
        path: the file; a checkpoint too.
        device: PyTorch device to put it on, or "auto".
        primitives: classes of primitives that no plugin registers, such as those made in a notebook.

    Raises:
        DiffbmpError: where the file is missing, no scene, of a newer version, damaged, cut short, larger than a scene
            may be, or needs a primitive that no installed plugin brings; or where the device is not there.
    """
    chosen = choose_device("auto", device)
    with _opened(path) as (archive, document):
        return scene_from_entries(archive, document, chosen, {cls.name: cls for cls in primitives})


def load_fit_state(path: str | Path) -> FitState | None:
    """Read the state of a fit from a scene file, or None where it holds none.

    Raises:
        DiffbmpError: where the file cannot be read, as in ``load_scene``; what the scene holds is not looked at.
    """
    with _opened(path) as (archive, _):
        if schema.FIT not in archive.names:
            return None
        metadata = decode_json(archive.read(schema.FIT, limit=MOST_JSON_BYTES), schema.FIT)
        if not isinstance(metadata, dict):
            raise SceneFileError(f"is damaged: '{schema.FIT}' is not an object")
        return FitState(metadata, decode_tensors(archive.read(schema.FIT_TENSORS), schema.FIT_TENSORS))


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Archive, schema.SceneDocument]]:
    """Open a scene file, check its version and its list of entries, and begin every error with the file's name."""
    file = require_file(path, "scene")
    try:
        with Archive(file) as archive:
            if schema.FILE not in archive.names:
                raise SceneFileError(f"is not a scene file of DiffBMP: it holds no '{schema.FILE}'")
            text = archive.read(schema.FILE, limit=MOST_JSON_BYTES)
            document = schema.parse_document(decode_json(text, schema.FILE))
            check_entries(archive, document)
            yield archive, document
    except SceneFileError as error:
        raise DiffbmpError(f"Scene '{path}' {error}.") from error
    except DiffbmpError as error:
        raise DiffbmpError(f"Scene '{path}' is damaged: {reason(error)}.") from error
    except MemoryError as error:
        raise DiffbmpError(f"Scene '{path}' does not fit into memory.") from error
    except OSError as error:
        raise DiffbmpError(f"Scene '{path}' cannot be read: {reason(error)}.") from error
