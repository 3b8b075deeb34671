from components.latest_blessed.strategy import LatestOtherBlessedModel

__all__ = ["LatestOtherBlessedModel"]
