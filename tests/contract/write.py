"""Write the copy of the contract anew: `python -m tests.contract.write`."""

from __future__ import annotations

from tests.contract.documents import COPY, made

if __name__ == "__main__":
    COPY.write_bytes(made())
