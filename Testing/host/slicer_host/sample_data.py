"""The module ``SampleData``: sample data that modules register, fetched from a file beside the program."""

from __future__ import annotations

import shutil
import types
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

from .properties import get_property


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]


@dataclass
class SampleDataSource:
    """One entry of the Sample Data module."""

    sampleName: str | None = None  # noqa: N815
    sampleDescription: str | None = None  # noqa: N815
    uris: Any = None
    fileNames: Any = None  # noqa: N815
    nodeNames: Any = None  # noqa: N815
    checksums: Any = None
    loadFiles: Any = None  # noqa: N815
    customDownloader: Any = None  # noqa: N815
    thumbnailFileName: str | None = None  # noqa: N815
    loadFileType: Any = None  # noqa: N815
    loadFileProperties: dict[str, Any] = field(default_factory=dict)  # noqa: N815
    customWidget: Any = None  # noqa: N815
    category: str = ""


sources: list[SampleDataSource] = []


class SampleDataLogic:
    """Registering and fetching."""

    @staticmethod
    def registerCustomSampleDataSource(  # noqa: N802
        category: str = "Custom",
        sampleName: str | None = None,  # noqa: N803
        uris: Any = None,
        fileNames: Any = None,  # noqa: N803
        nodeNames: Any = None,  # noqa: N803
        customDownloader: Any = None,  # noqa: N803
        thumbnailFileName: str | None = None,  # noqa: N803
        loadFileType: Any = "VolumeFile",  # noqa: N803
        loadFiles: Any = None,  # noqa: N803
        loadFileProperties: Any = None,  # noqa: N803
        checksums: Any = None,
    ) -> None:
        counts = {len(_listed(x)) for x in (uris, fileNames, nodeNames, checksums) if x is not None}
        if len(counts) > 1:
            raise ValueError("uris, fileNames, nodeNames and checksums must be of one length")
        source = SampleDataSource(
            sampleName=sampleName,
            sampleDescription=sampleName,
            uris=uris,
            fileNames=fileNames,
            nodeNames=nodeNames,
            checksums=checksums,
            loadFiles=loadFiles,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
            loadFileType=loadFileType,
            loadFileProperties=dict(loadFileProperties or {}),
            category=category,
        )
        sources.append(source)
        slicer.modules.sampleDataSources.setdefault(category, []).append(source)

    @staticmethod
    def sourceForSampleName(name: str) -> SampleDataSource | None:  # noqa: N802
        return next((source for source in sources if source.sampleName == name), None)

    def downloadFromSource(self, source: SampleDataSource, maximumAttemptsCount: int = 3) -> Any:  # noqa: N802, N803
        if source.customDownloader is not None:
            return source.customDownloader(source)
        if source.uris is None:
            return []
        results: list[Any] = []
        for i, uri in enumerate(_listed(source.uris)):
            parts = urllib.parse.urlparse(uri)
            if parts.scheme != "file":
                raise AssertionError(f"The host fetches no {parts.scheme} addresses: {uri}")
            target = Path(get_property(slicer.app, "cachePath")) / _listed(source.fileNames)[i]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(urllib.request.url2pathname(parts.path), target)
            if source.checksums is not None:
                algorithm, digest = slicer.util.extractAlgoAndDigest(_listed(source.checksums)[i])
                if slicer.util.computeChecksum(algorithm, str(target)) != digest:
                    raise ValueError(f"Checksum of {target.name} is not {digest}")
            if _listed(source.loadFiles)[i : i + 1] == [False]:
                results.append(str(target))
                continue
            kinds = _listed(source.loadFileType)
            kind = kinds[i] if i < len(kinds) else kinds[-1]
            properties = dict(source.loadFileProperties)
            if source.nodeNames is not None:
                properties["name"] = _listed(source.nodeNames)[i]
            node = slicer.util.loadNodeFromFile(str(target), kind, properties)
            results.append(node)
        return results

    def downloadSample(self, name: str) -> Any:  # noqa: N802
        return self.downloadSamples(name)[0]

    def downloadSamples(self, name: str) -> list[Any]:  # noqa: N802
        source = self.sourceForSampleName(name)
        if source is None:
            raise ValueError(f"No sample data is called {name}")
        return _listed(self.downloadFromSource(source))


def make() -> types.ModuleType:
    """Make the module."""
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    module.SampleDataSource = SampleDataSource
    module.downloadSample = lambda name: SampleDataLogic().downloadSample(name)
    module.downloadSamples = lambda name: SampleDataLogic().downloadSamples(name)
    module.downloadFromSource = lambda source: SampleDataLogic().downloadFromSource(source)
    return module
