"""The handler fails, with a cause."""


class OrderFailed(Exception):
    pass


def handler(event, context):
    try:
        {}["price"]
    except KeyError as error:
        raise OrderFailed("no price\nfor order 17") from error
