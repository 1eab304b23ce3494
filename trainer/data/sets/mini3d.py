"""An offline miniature of 3DIEBench: made-up solids under rotations of SO(3), with recorded poses.

A class is a fixed random arrangement of three convex polyhedra; an object of the class is that arrangement, its
vertices displaced by a smooth random field. Every view has its own uniform rotation and floor hue, as the
background; camera and light stand still. Axes: x right, y up, z towards the camera; orthographic projection.

All random numbers come from ``trainer.data.philox``, and shading is rounded to integers, so that the images
are the same on every platform up to the last bit of sine, cosine and logarithm.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from trainer.data.philox import philox
from trainer.data.sets.places import Places
from trainer.data.sets.raw import RawSet

PARTS, VERTICES = 3, 8
FACES = 2 * VERTICES - 4  # triangles of the hull of points in general position
FIELD_WAVES, FIELD_SIZE = 3, 0.06
LIGHT = np.array([0.45, 0.60, 0.66])
AMBIENT = 0.2
FLOOR_SATURATION = FLOOR_VALUE = 0.6  # as 3DIEBench's floor
TEST_SHARE = 0.2
_FAR = np.float32(1e9)
_CHUNK = 64

# what a random number is for; the second key word keeps them apart from every other stream of the program
_KEY = 0x3D
_CLASS, _OBJECT, _VIEW = 1, 2, 3


def read(places: Places) -> RawSet:
    """The default set; it is generated, so neither the folder nor a download is needed."""
    return generate()


def generate(objects: int = 600, views: int = 20, size: int = 32, classes: int = 10, seed: int = 0) -> RawSet:
    """Generate and render all objects (about 3 s on one core at the defaults).

    Object i is of class i modulo ``classes``; the last fifth of the objects is the test split.

    Args:
        size: side of an image in pixels.
        seed: changes classes, objects and poses.

    Returns:
        Images (objects, views, 3, size, size); extras ``quaternion`` (objects, views, 4) float32, scalar last and not
        negative, unit; ``hue`` (objects, views) float32 in [0, 1).
    """
    if min(objects, views, size, classes) < 1:
        raise ValueError(f"objects, views, size and classes must be at least 1, not {(objects, views, size, classes)}")
    labels = np.arange(objects) % classes
    solids = solid_planes(labels, seed)
    numbers = _uniform(seed, _VIEW, objects * views, 4)
    quaternion = _uniform_rotations(numbers[:, :3])
    hue = numbers[:, 3].astype(np.float32)
    images = np.empty((objects * views, 3, size, size), dtype=np.uint8)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        owner = np.arange(start, min(start + _CHUNK, len(images))) // views
        images[part] = render(solids[owner], quaternion[part], hue[part], size)
    return RawSet(
        torch.from_numpy(images).view(objects, views, 3, size, size),
        torch.from_numpy(labels.astype(np.int64)),
        test=round(objects * TEST_SHARE),
        extras={
            "quaternion": torch.from_numpy(quaternion).view(objects, views, 4),
            "hue": torch.from_numpy(hue).view(objects, views),
        },
    )


def solid_planes(labels: np.ndarray, seed: int) -> np.ndarray:
    """Objects of the given classes as unions of convex polyhedra, within the unit ball.

    Args:
        labels: (N,) classes; object i is the same whatever the other objects are.

    Returns:
        (N, PARTS, FACES, 4): outward unit normal n and offset d of each face; n . x <= d inside.
    """
    planes = np.empty((len(labels), PARTS, FACES, 4))
    shapes = {label: _class_vertices(int(label), seed) for label in np.unique(labels)}
    numbers = _normal(seed, _OBJECT, len(labels), 8 * FIELD_WAVES)
    for i, label in enumerate(labels):
        vertices = shapes[label]
        waves = numbers[i].reshape(FIELD_WAVES, 8)
        # sum of plane waves: neighbouring vertices move together
        phase = vertices @ (2.0 * waves[:, :3].T) + np.pi * waves[:, 6]
        vertices = vertices + FIELD_SIZE * np.sin(phase) @ waves[:, 3:6]
        vertices = vertices - vertices.reshape(-1, 3).mean(0)
        vertices = vertices / np.linalg.norm(vertices, axis=-1).max()
        for part in range(PARTS):
            # Qhull gives n . x + offset <= 0 inside
            faces = ConvexHull(vertices[part]).equations * [1, 1, 1, -1]
            # fewer triangles when a point falls inside its hull: repeating a face changes nothing
            planes[i, part] = faces[np.arange(FACES) % len(faces)]
    return planes


def render(planes: np.ndarray, quaternion: np.ndarray, hue: np.ndarray, size: int) -> np.ndarray:
    """Ray-cast one view per object.

    Args:
        planes: (n, PARTS, FACES, 4) from ``solid_planes``.
        quaternion: (n, 4) scalar last; the object's vertices are rotated by it.
        hue: (n,) of the floor.

    Returns:
        (n, 3, size, size) uint8, rows from top to bottom.
    """
    # rounding to 2**-20 gives the same bits for one rotation, however its quaternion was computed
    matrix = np.round(Rotation.from_quat(np.asarray(quaternion, dtype=np.float64)).as_matrix() * 2**20) / 2**20
    normal = np.einsum("nij,npfj->npfi", matrix, planes[..., :3])
    shade = AMBIENT + (1 - AMBIENT) * np.clip(normal @ (LIGHT / np.linalg.norm(LIGHT)), 0, None)
    depth = normal[..., 2]
    depth = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    # a ray along z meets the face's plane at z = (d - n_x x - n_y y) / n_z
    slope_x, slope_y, offset = (term / depth for term in (-normal[..., 0], -normal[..., 1], planes[..., 3]))
    axis = ((np.arange(size) + 0.5) / size * 2 - 1) * 1.02
    along_x = (slope_x[..., None] * axis).astype(np.float32)
    along_y = (slope_y[..., None] * -axis + offset[..., None]).astype(np.float32)
    front, shade = depth > 0, shade.astype(np.float32)
    nearest = np.full((len(planes), size, size), -_FAR)
    light = np.zeros_like(nearest)
    for part in range(PARTS):
        enter, leave = np.full_like(nearest, _FAR), np.full_like(nearest, -_FAR)
        colour = np.zeros_like(nearest)
        for face in range(FACES):
            z = along_x[:, part, face, None, :] + along_y[:, part, face, :, None]
            ahead = front[:, part, face, None, None]
            # faces turned to the camera bound the solid from above, the others from below
            np.maximum(leave, np.where(ahead, -_FAR, z), out=leave)
            z = np.where(ahead, z, _FAR)
            closer = z < enter
            np.copyto(enter, z, where=closer)
            np.copyto(colour, shade[:, part, face, None, None], where=closer)
        seen = (enter >= leave) & (enter > nearest)
        np.copyto(nearest, enter, where=seen)
        np.copyto(light, colour, where=seen)
    solid = np.floor(light * 255 + 0.5).astype(np.uint8)
    floor = np.floor(_hsv(hue, FLOOR_SATURATION, FLOOR_VALUE) * 255 + 0.5).astype(np.uint8)
    return np.where((nearest > -_FAR)[:, None], solid[:, None], floor[:, :, None, None])


def _class_vertices(label: int, seed: int) -> np.ndarray:
    """(PARTS, VERTICES, 3): points on ellipsoids around the centres of the parts."""
    numbers = _normal(seed, _CLASS, label + 1, PARTS * 3 * (VERTICES + 2))[label].reshape(PARTS, VERTICES + 2, 3)
    centre = 0.45 * numbers[:, 0] / np.linalg.norm(numbers[:, 0], axis=-1, keepdims=True)
    radii = 0.55 * np.exp(0.6 * numbers[:, 1])
    points = numbers[:, 2:] / np.linalg.norm(numbers[:, 2:], axis=-1, keepdims=True)
    return centre[:, None] + radii[:, None] * points


def _uniform_rotations(numbers: np.ndarray) -> np.ndarray:
    """Unit quaternions, float32 (n, 4), uniform over SO(3), from three uniform numbers each (Shoemake 1992)."""
    u, first, second = numbers[:, 0], 2 * np.pi * numbers[:, 1], 2 * np.pi * numbers[:, 2]
    low, high = np.sqrt(1 - u), np.sqrt(u)
    quaternion = np.stack(
        [low * np.sin(first), low * np.cos(first), high * np.sin(second), high * np.cos(second)], axis=-1
    )
    # q and -q are one rotation; keep the one with the non-negative scalar
    return np.where(quaternion[:, 3:] < 0, -quaternion, quaternion).astype(np.float32)


def _hsv(hue: np.ndarray, saturation: float, value: float) -> np.ndarray:
    """(n, 3) RGB in [0, 1]."""
    place = (np.array([5.0, 3.0, 1.0]) + 6 * hue[:, None].astype(np.float64)) % 6
    return value * (1 - saturation * np.clip(np.minimum(place, 4 - place), 0, 1))


def _uniform(seed: int, purpose: int, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) float64 in [0, 1), multiples of 2**-32; row i depends on i alone."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(-(-columns // 4)), indexing="ij")
    words = philox((row, column, torch.full_like(row, purpose), torch.zeros_like(row)), (seed & 0xFFFFFFFF, _KEY))
    return torch.stack(words, dim=-1).flatten(1)[:, :columns].numpy() * 2.0**-32


def _normal(seed: int, purpose: int, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) standard normal numbers (Box-Muller)."""
    uniform = _uniform(seed, purpose, rows, 2 * columns)
    return np.sqrt(-2 * np.log1p(-uniform[:, :columns])) * np.cos(2 * np.pi * uniform[:, columns:])
