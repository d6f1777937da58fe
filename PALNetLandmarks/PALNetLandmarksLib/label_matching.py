"""Find a protocol's landmark by the many ways in which files spell its name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .protocol import Landmark, Protocol


def normalised(name: str) -> str:
    """Reduce a name to small letters and digits.

    Parameters
    ----------
    name : str
        Name as a file spells it.

    Returns
    -------
    str
        The name without case, spaces, underscores and punctuation.

    Examples
    --------
    >>> normalised("Right Ex_R (outer)")
    'rightexrouter'
    """
    return re.sub(r"[\W_]+", "", name.casefold())


class LabelMatcher:
    """Looks up landmarks by label, abbreviation or full name with the side, whatever the case and separators.

    A spelling that would fit two landmarks fits none: ``TR`` could be trichion ``Tr`` or the right tragion ``T_R``.

    Parameters
    ----------
    protocol : Protocol
        The landmarks to look up.

    Examples
    --------
    >>> from PALNetLandmarksLib.protocol import load_protocol
    >>> matcher = LabelMatcher(load_protocol())
    >>> [matcher.find(name) for name in ("ex r", "Right Exocanthion", "exocanthion_L", "Nasion", "elbow")]
    ['Ex_R', 'Ex_R', 'Ex_L', 'N', None]
    """

    def __init__(self, protocol: Protocol) -> None:
        self._exact = set(protocol.labels)
        # With its separators a label is told apart from another that has the same letters without any.
        self._separated = {_separated(label): label for label in protocol.labels if "_" in _separated(label)}
        spellings: dict[str, str | None] = {}
        for landmark in protocol.landmarks:
            for spelling in {normalised(landmark.label), *_spellings(landmark)}:
                spellings[spelling] = None if spelling in spellings else landmark.label
        self._spellings = spellings

    def find(self, name: str) -> str | None:
        """Give the label that a name means.

        Parameters
        ----------
        name : str
            Name as a file spells it.

        Returns
        -------
        str or None
            The label; None when the name fits no landmark or more than one.
        """
        if name in self._exact:
            return name
        return self._separated.get(_separated(name)) or self._spellings.get(normalised(name))


def _separated(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.strip().casefold())


def _spellings(landmark: Landmark) -> Iterator[str]:
    for name in (landmark.abbreviation, landmark.name):
        key = normalised(name)
        if landmark.side == "midline":
            yield key
        else:
            for word in (landmark.side, landmark.side[0]):
                yield key + word
                yield word + key
