"""Limits of a request's size, in whatever form it comes."""

from __future__ import annotations

from tfrs_twotower.server.config import Limits
from tfrs_twotower.server.errors import invalid


def require_rows(num_rows: int, limits: Limits) -> None:
    """Checks the number of rows of a request.

    Args:
        num_rows: The number.
        limits: What is refused.

    Raises:
        RequestError: If it is too great.
    """
    if num_rows > limits.max_rows:
        raise invalid(f"A request must have at most {limits.max_rows} rows. Received: {num_rows}. Split it.")


def require_width(name: str, num_rows: int, width: int, limits: Limits) -> None:
    """Checks the length of a request's lists.

    Args:
        name: Name of the input.
        num_rows: Rows of the request.
        width: Length of the longest list.
        limits: What is refused.

    Raises:
        RequestError: If it is too great, or there are too many values once all lists are as long.
    """
    if width > limits.max_list_length:
        raise invalid(f"A list of {name!r} must have at most {limits.max_list_length} values. Received: {width}.")
    if num_rows * width > limits.max_values:
        raise invalid(
            f"{name!r} must have at most {limits.max_values} values, with lists padded to the longest. Received: "
            f"{num_rows} lists of {width}. Split the request."
        )
