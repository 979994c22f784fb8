"""What only people know of the models: the section [card] of the configuration."""

from __future__ import annotations

from pipeline.sections import Section


class CardConfig(Section):
    """The words of the model card in each run's report; the facts come from the run itself.

    The headings are those of M. Mitchell et al., "Model Cards for Model Reporting", 2019.
    """

    intended_use: str = ""
    """What its predictions are for, and who acts on them."""
    out_of_scope: str = ""
    """What they are not for, though it may seem so."""
    data: str = ""
    """Where the rows come from, and whom or what they stand for."""
    limits: str = ""
    """What is known to go wrong: groups, seasons, values it has not seen."""
    owners: tuple[str, ...] = ()
    """Who answers for it: people or teams."""
    contact: str = ""
    """Where questions go: an address, a channel or a page."""
    licence: str = ""
    """Under which terms it, and what it learned from, may be used."""
