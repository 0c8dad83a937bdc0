"""The files that can be downloaded: where they are, how long, and their checksums.

MNIST is by Y. LeCun, C. Cortes and C. Burges (CC BY-SA 3.0), Fashion-MNIST by Zalando SE (MIT),
CIFAR-10 by A. Krizhevsky, V. Nair and G. Hinton (no licence stated; cite the report of 2009).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """A file on the network.

    Attributes
    ----------
    name : str
        Its name on every mirror and here.
    size : int
        In bytes.
    sha256 : str
        Of the file as it is downloaded, in hexadecimal.
    mirrors : tuple of str
        Addresses of folders that hold it, the first to be tried first; each ends in "/".
    """

    name: str
    size: int
    sha256: str
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class IdxFile:
    """An IDX file of a known collection.

    Attributes
    ----------
    remote : RemoteFile
        Its gzip archive.
    shape : tuple of int
        (N, H, W) for images, (N,) for labels.
    content : str
        SHA-256 of the IDX file inside, which a copy compressed anew shares.
    """

    remote: RemoteFile
    shape: tuple[int, ...]
    content: str


@dataclass(frozen=True)
class IdxCollection:
    """Images and labels in the four files of MNIST.

    Attributes
    ----------
    name : str
    folders : tuple of str
        Where they may lie in the user's data folder.
    classes : tuple of str
    files : dict of str to (IdxFile, IdxFile)
        By split: images, labels.
    """

    name: str
    folders: tuple[str, ...]
    classes: tuple[str, ...]
    files: dict[str, tuple[IdxFile, IdxFile]]


_IDX_NAMES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_IDX_SHAPES = {"train": ((60000, 28, 28), (60000,)), "test": ((10000, 28, 28), (10000,))}


def _idx_files(
    mirrors: tuple[str, ...], sums: dict[str, tuple[tuple[int, str, str], ...]]
) -> dict[str, tuple[IdxFile, IdxFile]]:
    """The four files from the (size, SHA-256, SHA-256 of the content) of each."""
    files = {}
    for split, names in _IDX_NAMES.items():
        images, labels = (
            IdxFile(RemoteFile(name, size, sha256, mirrors), shape, content)
            for name, shape, (size, sha256, content) in zip(
                names, _IDX_SHAPES[split], sums[split], strict=True
            )
        )
        files[split] = (images, labels)
    return files


MNIST = IdxCollection(
    name="mnist",
    folders=("mnist",),
    classes=tuple("0123456789"),
    files=_idx_files(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            "train": (
                (
                    9912422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                ),
                (
                    28881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                ),
            ),
            "test": (
                (
                    1648877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                ),
                (
                    4542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                ),
            ),
        },
    ),
)

FASHION_MNIST = IdxCollection(
    name="fashion-mnist",
    folders=("fashion", "fashion-mnist"),
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    files=_idx_files(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
            "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        {
            "train": (
                (
                    26421880,
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                ),
                (
                    29515,
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                ),
            ),
            "test": (
                (
                    4422102,
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                ),
                (
                    5148,
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                ),
            ),
        },
    ),
)

CIFAR10 = RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    (
        "https://www.cs.toronto.edu/~kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
)
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
