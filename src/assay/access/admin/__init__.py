"""The administration: signed calls, their description, and the page that makes them."""
