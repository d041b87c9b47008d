"""What all tests need of the process that they run in."""

from __future__ import annotations

import signal

# A shell that starts something in the background has it ignore Ctrl-C, and children inherit that.
# Tests send Ctrl-C to this process and to children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
