"""One file a section: ``section(material) -> Section | None`` and an ``ORDER``; found by the page that shows them."""
