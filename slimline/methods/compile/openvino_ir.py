"""OpenVINO's IR in as few bytes as it can be read from: the same graph with short names and no notes."""

from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree

NAMED = ("Parameter", "Result")


def slim_ir(path: Path, kept: Collection[str] = ()) -> None:
    """Rewrite an IR's XML: no rt_info, shapes of inner ports and types of read ones, tensor names (but those `kept`) and blanks; equal
    constants stand once.

    OpenVINO infers inner shapes when it reads the file, and what a port reads has the type of what it reads from. Weights, in the .bin
    beside it, are not touched.
    """
    root = ElementTree.parse(path).getroot()
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag == "rt_info"]:
            parent.remove(child)
    _share_constants(root)
    _shorten(root, kept)
    for element in root.iter():
        element.text, element.tail = (element.text or "").strip() or None, None
    path.write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True).replace(b'" />', b'"/>') + b"\n")


def _share_constants(root: ElementTree.Element) -> None:
    layers, edges = _child(root, "layers"), _child(root, "edges")
    first: dict[tuple[tuple[str, str], ...], str] = {}
    same: dict[str, str] = {}
    for layer in [layer for layer in layers if layer.get("type") == "Const"]:
        data = layer.find("data")
        key = tuple(sorted(data.attrib.items())) if data is not None else ()
        number = layer.get("id", "")
        if first.setdefault(key, number) != number:
            same[number] = first[key]
            layers.remove(layer)
    for edge in edges:
        edge.set("from-layer", same.get(edge.get("from-layer", ""), edge.get("from-layer", "")))


def _shorten(root: ElementTree.Element, kept: Collection[str]) -> None:
    root.set("name", "m")
    layers = _child(root, "layers")
    numbers = {layer.get("id", ""): str(index) for index, layer in enumerate(layers)}
    for layer in layers:
        layer.set("id", numbers[layer.get("id", "")])
        if layer.get("type") in NAMED:
            continue
        layer.set("name", layer.get("id", ""))
        for port in layer.findall("input/port"):
            port.attrib.pop("precision", None)
        for port in layer.iter("port"):
            if port.get("names") not in kept:
                port.attrib.pop("names", None)
            for dimension in list(port):
                port.remove(dimension)
    for edge in _child(root, "edges"):
        for end in ("from-layer", "to-layer"):
            edge.set(end, numbers[edge.get(end, "")])


def _child(root: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = root.find(tag)
    return ElementTree.Element(tag) if found is None else found
