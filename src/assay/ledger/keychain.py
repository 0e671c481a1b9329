"""Secrets in the system's keyring (extra `keyring`), under the service `assay` and the name of the variable that would hold them.

keychain.store("MY_API_KEY", secret, "models.example.org")
keychain.look_up("MY_API_KEY", "models.example.org")     # "" where there is none, no keyring, or the extra is not installed
keychain.forget("MY_API_KEY", "models.example.org")

A secret that was stored for a host is found for that host only, whatever a plan says; one that was stored without goes wherever a plan
sends it.
What a locked or broken keyring says is told; the secret itself is in no error.
"""

from __future__ import annotations

import re
from types import ModuleType

from assay.errors import AssayError

SERVICE = "assay"
NAME = re.compile(r"^[A-Z_][A-Z0-9_]{0,99}\Z")
HOST = re.compile(r"^[a-z0-9._\[\]:-]{1,253}\Z")
HEADLESS = "A machine without a desktop has none as a rule: set the variable, or name a backend in PYTHON_KEYRING_BACKEND."


class KeyringError(AssayError):
    """The system's keyring is not there, is locked, or would not do it."""


def problem() -> str:
    """Why there is no keyring here; empty where there is one."""
    try:
        return "" if _keyring().get_keyring().priority > 0 else "this machine has no keyring that can be used"
    except KeyringError as e:
        return e.what
    except (RuntimeError, OSError, ImportError, ValueError) as e:
        return f"the keyring cannot be opened ({type(e).__name__})"


def backend() -> str:
    """What keeps the secrets, in the library's own words. Raises `KeyringError`."""
    return str(_keyring().get_keyring().name)


def look_up(name: str, host: str = "") -> str:
    """The secret for this host, else the one without a host; empty where there is none. Raises `KeyringError` for a locked keyring."""
    try:
        keyring = _keyring()
    except KeyringError:
        return ""
    for entry in dict.fromkeys((_entry(name, host), _entry(name, ""))):
        try:
            found = keyring.get_password(SERVICE, entry)
        except keyring.errors.NoKeyringError:
            return ""
        except (keyring.errors.KeyringError, RuntimeError, OSError) as e:
            raise KeyringError(
                f"the system's keyring could not be read ({type(e).__name__})", where=name, fix="Unlock it, or set it."
            ) from None
        if found:
            return str(found)
    return ""


def store(name: str, secret: str, host: str = "") -> None:
    """Keep a secret, in place of the one before. Raises `KeyringError`."""
    keyring = _keyring()
    try:
        keyring.set_password(SERVICE, _entry(name, host), secret)
        kept = keyring.get_password(SERVICE, _entry(name, host)) == secret
    except keyring.errors.NoKeyringError:
        raise KeyringError("this machine has no keyring that can be used", fix=HEADLESS) from None
    except (keyring.errors.KeyringError, RuntimeError, OSError) as e:
        raise KeyringError(f"the system's keyring would not keep it ({type(e).__name__})", where=name) from None
    if not kept:
        raise KeyringError("the keyring took it and does not give it back", where=name, fix=HEADLESS)


def forget(name: str, host: str = "") -> None:
    """Remove a secret. Raises `KeyringError` where there is none."""
    keyring = _keyring()
    try:
        keyring.delete_password(SERVICE, _entry(name, host))
    except keyring.errors.NoKeyringError:
        raise KeyringError("this machine has no keyring that can be used", fix=HEADLESS) from None
    except keyring.errors.PasswordDeleteError:
        raise KeyringError("the keyring has no such secret", where=_entry(name, host)) from None
    except (keyring.errors.KeyringError, RuntimeError, OSError) as e:
        raise KeyringError(f"the system's keyring would not forget it ({type(e).__name__})", where=name) from None


def _entry(name: str, host: str) -> str:
    if not NAME.match(name):
        raise KeyringError("a name is that of an environment variable: capital letters, digits and _", where=name[:100])
    if host and not HOST.match(host):
        raise KeyringError("a host is its name as it stands in the address, without port", where=host[:100])
    return f"{name}@{host}" if host else name


def _keyring() -> ModuleType:
    try:
        import keyring
        import keyring.errors
    except ImportError as e:
        raise KeyringError(f"the system's keyring needs {e.name}", fix="pip install 'assay[keyring]'") from None
    return keyring
