"""Text and picture encoders behind one small protocol (:class:`sqidflow.encoders.base.Encoder`)."""
