NAME = "promptfoo"


def version(folder):
    return None
