NAME = "garak"


def version(folder):
    return None
