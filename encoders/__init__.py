"""Text and picture encoders behind one small protocol (:class:`encoders.base.Encoder`)."""
