"""``stylize-camera``: a live picture, stylized, in a window, on a page, in a file, as a camera.

One loop (:mod:`.engine`) drives everything: the newest frame of :mod:`.capture` goes
through the same styles, strength and colours as files do, and on to every output.
"""
