"""The domain: one package per entity, found here at start, so that adding one changes no other."""

import pkgutil
from importlib import import_module
from types import ModuleType

from fastapi import APIRouter


def routers() -> list[APIRouter]:
    """Every entity's router, by the entity's name."""
    return [module.router for module in modules("router")]


def modules(name: str) -> list[ModuleType]:
    """The module of that name from every entity's package, imported."""
    packages = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)
    return [import_module(f"{__name__}.{package}.{name}") for package in packages]
