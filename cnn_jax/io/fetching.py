"""What lies on other machines: whether they can be reached, and why something could not be fetched."""

from urllib.parse import urlsplit

CONNECT_SECONDS = 10.0
"""A server that has not answered after so long counts as out of reach."""


def out_of_reach(url: str) -> str | None:
    """Why the server of an http address cannot be reached, in a few words; None where it answers, whatever it says."""
    import requests  # loads only when something must be fetched

    try:
        requests.head(url, timeout=CONNECT_SECONDS).close()
    except requests.RequestException as error:
        return reason(error)
    return None


def no_connection(error: BaseException) -> bool:
    """Whether an exception of requests says that there was nobody to talk to, so that trying again does not help."""
    import requests
    from urllib3.exceptions import NewConnectionError

    cause = getattr(error.args[0], "reason", None) if error.args else None
    unanswered = isinstance(cause, NewConnectionError)  # the name is unknown, or the connection was refused
    return isinstance(error, requests.ConnectTimeout | requests.exceptions.ProxyError) or unanswered


def reason(error: BaseException) -> str:
    """Why something could not be fetched: short for a connection that there is not, else what the exception says."""
    if no_connection(error):
        url = getattr(getattr(error, "request", None), "url", None)
        return f"no connection to {urlsplit(url).hostname}" if url else "no connection"
    return f"{type(error).__name__}: {error}"
