"""loguru, as it comes: text on stderr."""

from loguru import logger


def handler(event, context):
    logger.info("accepted {}", 17)
    with logger.contextualize(request="r-1"):
        logger.bind(order=17, id="x").warning("two\nlines — €")
    try:
        {}["price"]
    except KeyError:
        logger.exception("no price")
