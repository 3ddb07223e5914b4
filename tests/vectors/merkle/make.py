"""Writes v1/: the public test vectors of RFC 6962 trees, and what verifiers of them must refuse.

Leaves, heads and good paths are those that certificate-transparency implementations publish as their test data; the
bad ones are the usual alterations of the good ones.
"""

import json
from pathlib import Path

HERE = Path(__file__).parent / "v1"
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
G = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
INCLUSION = [(0, 1, []), (0, 8, [A, B, C]), (5, 8, [D, E, ROOTS[4]]), (2, 3, [ROOTS[2]]), (1, 5, [ROOTS[1], B, D])]
CONSISTENCY = [(1, 1, []), (1, 8, [A, B, C]), (6, 8, [F, E, ROOTS[4]]), (2, 5, [B, D]), (6, 7, [F, G, ROOTS[4]])]


def flipped(text):
    return f"{int(text[:2], 16) ^ 8:02x}{text[2:]}"


def bad_inclusion(good):
    path = good["path"]
    yield "index_less", {"index": good["index"] - 1}
    yield "index_more", {"index": good["index"] + 1}
    yield "twice_the_size", {"size": good["size"] * 2}
    yield "half_the_size", {"size": good["size"] // 2}
    yield "another_leaf", {"leaf": "deadbeef"}
    yield "empty_root", {"root": ROOTS[0]}
    yield "trailing_root", {"path": [*path, good["root"]]}
    yield "preceding_root", {"path": [good["root"], *path]}
    if path:
        yield "cut", {"path": path[:-1]}
        yield "bit", {"path": [flipped(path[0]), *path[1:]]}


def bad_consistency(good):
    path = good["path"]
    yield "size_more", {"before": good["before"] + 1}
    yield "twice_the_size", {"size": good["size"] * 2}
    yield "older_than_before", {"size": good["before"] - 1}
    yield "other_old", {"old": flipped(good["old"])}
    yield "other_new", {"new": flipped(good["new"])}
    yield "trailing_root", {"path": [*path, good["new"]]}
    if path:
        yield "swapped", {"old": good["new"], "new": good["old"]}
        yield "no_path", {"path": []}
        yield "cut", {"path": path[:-1]}
        yield "twice_the_first", {"path": [path[0], *path]}
        yield "bit", {"path": [*path[:-1], flipped(path[-1])]}


def main():
    files = {}
    for size, root in enumerate(ROOTS):
        files[f"ok_root_{size}"] = {"kind": "root", "leaves": LEAVES[:size], "root": root}
    for index, size, path in INCLUSION:
        good = {"kind": "inclusion", "index": index, "size": size, "leaf": LEAVES[index], "root": ROOTS[size]}
        good["path"] = path
        files[f"ok_inclusion_{index}_of_{size}"] = good
        if size in (8, 5):
            for name, change in bad_inclusion(good):
                files[f"bad_inclusion_{index}_of_{size}_{name}"] = {**good, **change}
    for before, size, path in CONSISTENCY:
        good = {"kind": "consistency", "before": before, "size": size, "old": ROOTS[before], "new": ROOTS[size]}
        good["path"] = path
        files[f"ok_consistency_{before}_to_{size}"] = good
        if (before, size) in ((6, 8), (2, 5)):
            for name, change in bad_consistency(good):
                files[f"bad_consistency_{before}_to_{size}_{name}"] = {**good, **change}
    HERE.mkdir(exist_ok=True)
    for name, value in files.items():
        (HERE / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
