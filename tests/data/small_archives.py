"""Small archives in the layouts of known datasets, to be served by a mirror. Each function returns class -> images."""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from fewshot.settings.published import published_classes, published_scheme

Layout = Callable[[Path], dict[str, int]]


def picture(seed: int, kind: str = "JPEG", size: tuple[int, int] = (12, 9)) -> bytes:
    """A file of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def tar_gz(path: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def zipped(path: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def mat(**values: object) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, values)
    return buffer.getvalue()


def idx(values: np.ndarray) -> bytes:
    """An array in the format of MNIST, compressed."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return gzip.compress(head + values.tobytes(), mtime=0)


def cifar100(folder: Path, per_class: int = 2) -> dict[str, int]:
    """Train and test files of `per_class` and 1 image of each class; all pixels of an image are its fine label."""
    fine = published_classes("cifar100/cifar-fs")
    groups = published_scheme("cifar100/fc100")["groups"]
    coarse = sorted(group for of_split in groups.values() for group in of_split)
    record = b"".join(bytes([k // 5, k]) + bytes([k]) * 3072 for k in range(100))
    files = {
        "train.bin": record * per_class,
        "test.bin": record,
        "fine_label_names.txt": "\n".join(fine).encode() + b"\n",
        "coarse_label_names.txt": "\n".join(coarse).encode() + b"\n",
    }
    tar_gz(folder / "cifar-100-binary.tar.gz", {f"cifar-100-binary/{name}": content for name, content in files.items()})
    return {name: per_class + 1 for name in fine}


def cub(folder: Path) -> dict[str, int]:
    names = published_classes("cub/closer-look")[:12]
    files = {f"CUB_200_2011/images/{name}/{k}.jpg": picture(k) for name in names for k in range(3)}
    others = {"attributes.txt": b"1", "CUB_200_2011/images/._x.jpg": b"", "CUB_200_2011/images.txt": b"1 x"}
    tar_gz(folder / "CUB_200_2011.tgz", {**others, **files})
    return dict.fromkeys(names, 3)


def aircraft(folder: Path) -> dict[str, int]:
    lists = published_scheme("aircraft/meta-dataset")["classes"]
    names = ["F-16A/B", *lists["val"][:5], *lists["test"][:3]]
    ids = {f"{k:07}": name for k, name in enumerate(names * 3)}
    lines = [f"{number} {name}\n" for number, name in ids.items()]
    files = {f"images/{number}.jpg": picture(int(number)) for number in ids}
    files |= {"variants.txt": "\n".join(names).encode(), "images_variant_test.txt": "".join(lines[:9]).encode()}
    files["images_variant_trainval.txt"] = "".join(lines[9:]).encode()
    data = {f"fgvc-aircraft-2013b/data/{name}": content for name, content in files.items()}
    tar_gz(folder / "fgvc-aircraft-2013b.tar.gz", data)
    return dict.fromkeys(names, 3)


def dtd(folder: Path) -> dict[str, int]:
    names = [name for of_split in published_scheme("dtd/meta-dataset")["classes"].values() for name in of_split[:4]]
    files = {}
    for k, part in enumerate(("train", "val", "test")):
        paths = [f"{name}/{name}_{k:04}.jpg" for name in names]
        files |= {f"dtd/images/{path}": picture(k) for path in paths}
        files[f"dtd/labels/{part}1.txt"] = "\n".join(paths).encode()
    tar_gz(folder / "dtd-r1.0.1.tar.gz", files)
    return dict.fromkeys(names, 3)


def flowers(folder: Path) -> dict[str, int]:
    labels = [1 + k % 102 for k in range(306)]
    one = picture(0)
    tar_gz(folder / "102flowers.tgz", {f"jpg/image_{k + 1:05}.jpg": one for k in range(306)})
    (folder / "imagelabels.mat").write_bytes(mat(labels=[labels]))
    parts = {"trnid": range(1, 103), "valid": range(103, 205), "tstid": range(205, 307)}
    (folder / "setid.mat").write_bytes(mat(**{name: [list(ids)] for name, ids in parts.items()}))
    return dict.fromkeys(published_classes("flowers/meta-dataset"), 3)


def traffic_sign(folder: Path) -> dict[str, int]:
    one = picture(0, "PPM")
    files = {f"GTSRB/Training/{k:05}/{row:05}.ppm": one for k in range(43) for row in range(2)}
    zipped(folder / "GTSRB-Training_fixed.zip", files)
    zipped(folder / "GTSRB_Final_Test_Images.zip", {"GTSRB/Final_Test/Images/00000.ppm": one})
    rows = b"Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n00000.ppm;12;9;1;1;8;8;14\n"
    zipped(folder / "GTSRB_Final_Test_GT.zip", {"GT-final_test.csv": rows})
    return {name: 2 + (name == "14.Stop") for name in published_classes("traffic-sign/meta-dataset")}


def eurosat(folder: Path) -> dict[str, int]:
    zipped(folder / "EuroSAT.zip", {f"2750/{name}/{name}_{k}.jpg": picture(k) for name in "ABCDEF" for k in range(3)})
    return dict.fromkeys("ABCDEF", 3)


def pets(folder: Path) -> dict[str, int]:
    names = ["Abyssinian", "american_bulldog", "Bengal", "boxer", "pug"]
    lines = [f"{name}_{k} {label + 1} 1 1\n" for k in range(3) for label, name in enumerate(names)]
    files = {f"images/{line.split()[0]}.jpg": picture(k) for k, line in enumerate(lines)}
    tar_gz(folder / "images.tar.gz", files)
    texts = {"trainval.txt": lines[:10], "test.txt": lines[10:]}
    tar_gz(
        folder / "annotations.tar.gz", {f"annotations/{name}": "".join(text).encode() for name, text in texts.items()}
    )
    return dict.fromkeys(["Abyssinian", "American Bulldog", "Bengal", "Boxer", "Pug"], 3)


def food101(folder: Path) -> dict[str, int]:
    names = ["apple_pie", "pizza", "ramen", "sushi", "waffles"]
    files = {f"food-101/images/{name}/{k}.jpg": picture(k) for name in names for k in range(3)}
    for part, numbers in {"train": (0, 1), "test": (2,)}.items():
        lists = {name: [f"{name}/{k}" for k in numbers] for name in names}
        files[f"food-101/meta/{part}.json"] = json.dumps(lists).encode()
    tar_gz(folder / "food-101.tar.gz", files)
    return dict.fromkeys(names, 3)


def caltech101(folder: Path) -> dict[str, int]:
    names = ["Faces", "accordion", "ant", "yin_yang", "wrench", "BACKGROUND_Google"]
    inner = folder / "inner.tar.gz"
    tar_gz(inner, {f"101_ObjectCategories/{name}/image_{k:04}.jpg": picture(k) for name in names for k in (1, 2, 3)})
    zipped(folder / "caltech-101.zip", {"caltech-101/101_ObjectCategories.tar.gz": inner.read_bytes()})
    inner.unlink()
    return dict.fromkeys(names[:-1], 3)


def emnist(folder: Path) -> dict[str, int]:
    """Stored by columns: the first image has its first row, as seen upright, bright."""
    images, labels = np.zeros((141, 28, 28), np.uint8), np.arange(141, dtype=np.uint8) % 47
    images[0, :, 0] = 255
    parts = {"train": slice(0, 94), "test": slice(94, 141)}
    files = {}
    for part, rows in parts.items():
        files[f"gzip/emnist-balanced-{part}-images-idx3-ubyte.gz"] = idx(images[rows])
        files[f"gzip/emnist-balanced-{part}-labels-idx1-ubyte.gz"] = idx(labels[rows])
    zipped(folder / "gzip.zip", files)
    return dict.fromkeys("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt", 3)


def kmnist(folder: Path) -> dict[str, int]:
    for part, number in (("train", 20), ("t10k", 10)):
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(np.full((number, 28, 28), 7, np.uint8)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(number, dtype=np.uint8) % 10))
    return dict.fromkeys(["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"], 3)


def svhn(folder: Path) -> dict[str, int]:
    for part, number in (("train", 20), ("test", 10)):
        labels = 1 + np.arange(number, dtype=np.uint8)[:, None] % 10  # 10 is a zero
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, number), dtype=np.uint8)
        (folder / f"{part}_32x32.mat").write_bytes(mat(X=pixels, y=labels))
    return dict.fromkeys("0123456789", 3)
