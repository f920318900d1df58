"""An order service as a team writes it: it logs in three ways, and knows nothing of the layer that ships its lines.

Each of its own lines carries ``<order>/<number>``, counted from 1 in each order; the answer tells the last number.
"""

from __future__ import annotations

import http.client
import logging
import os
import time
from typing import Any

import structlog

structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(),
    ]
)
audit = structlog.get_logger()
log = logging.getLogger("orders")
log.setLevel(logging.INFO)

PRICES = {"espresso": 2.40, "filter": 3.10, "beans 1 kg": 21.90, "grinder": 189.00}
log.info("price list loaded: %d articles", len(PRICES))


class PaymentDeclined(Exception):
    """The card's bank says no."""


class Order:
    """One order and the numbers of its lines."""

    def __init__(self, event: dict[str, Any]) -> None:
        self.number = event["order"]
        self.items = event["items"]
        self.payment = event["payment"]
        self.lines = 0

    def line(self) -> str:
        """Return the number of the next line."""
        self.lines += 1
        return f"{self.number}/{self.lines}"


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Take an order: reserve its articles, have it paid, print the label of its parcel."""
    order = Order(event)
    log.info("%s order received", order.line(), extra={"order": order.number, "customer": event["customer"]})
    log.debug("order %d has the basket %s", order.number, order.items)
    total = sum(reserve(order, article, quantity) for article, quantity in order.items)
    time.sleep(event["seconds"])  # the database's share
    pay(order, total)
    print(f"{order.line()} parcel label printed, {len(order.items)} items")
    audit.info("order accepted", line=order.line(), total=round(total, 2), payment=order.payment)
    return {"order": order.number, "total": round(total, 2), "log_lines": order.lines}


def reserve(order: Order, article: str, quantity: int) -> float:
    log.info("%s %d x %s reserved", order.line(), quantity, article, extra={"article": article, "quantity": quantity})
    return PRICES[article] * quantity


def pay(order: Order, total: float) -> None:
    """Have the bank charge a card; an invoice is paid later.

    Raises:
        PaymentDeclined: The caller has to choose another way to pay.
    """
    log.debug("order %d pays %.2f by %s", order.number, total, order.payment)
    if order.payment == "expired card":
        log.warning("%s the bank answers: card expired", order.line(), extra={"order": order.number})
        raise PaymentDeclined(f"order {order.number}: card expired")
    if order.payment == "card":
        print(f"{order.line()} charging {total:.2f}")
        bank = http.client.HTTPConnection(os.environ["PAYMENT_SERVICE"], timeout=30)
        bank.request("POST", f"/charges/{order.number}/{order.lines}", body=f"{total:.2f}")
        bank.getresponse().read()
