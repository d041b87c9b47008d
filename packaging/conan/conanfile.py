"""Recipe of Conan 2: ``conan create packaging/conan``. It builds the sources that it lies in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load

SOURCES = ("CMakeLists.txt", "pyproject.toml", "LICENSE", "cpp/*")


class Helip(ConanFile):
    name = "helip"
    description = "Hard pair mining of image-text embeddings"
    license = "Apache-2.0"
    topics = ("clip", "embeddings", "hard-negatives")
    package_type = "shared-library"
    settings = "os", "arch", "compiler", "build_type"
    # True: hnswlib, JSON, xxHash, JPEG, PNG and WebP of the system, and nothing of Conan's.
    options: ClassVar[dict[str, Any]] = {"system_libraries": [True, False]}
    default_options: ClassVar[dict[str, Any]] = {"system_libraries": False}

    @property
    def _root(self) -> Path:
        return Path(self.recipe_folder).parents[1]

    def set_version(self) -> None:
        project = load(self, str(self._root / "pyproject.toml"))
        self.version = re.search(r'^version = "([\d.]+)"', project, re.M)[1]

    def export_sources(self) -> None:
        for pattern in SOURCES:
            copy(self, pattern, str(self._root), self.export_sources_folder)

    def validate(self) -> None:
        check_min_cppstd(self, 20)

    def requirements(self) -> None:
        if self.options.system_libraries:
            return
        self.requires("nlohmann_json/[>=3.11 <4]", visible=False)
        self.requires("hnswlib/[>=0.8 <1]", visible=False)
        self.requires("xxhash/[>=0.8 <1]", visible=False)
        self.requires("libjpeg-turbo/[>=3 <4]", visible=False)
        self.requires("libpng/[>=1.6 <2]", visible=False)
        self.requires("libwebp/[>=1.3 <2]", visible=False)

    def layout(self) -> None:
        cmake_layout(self)

    def generate(self) -> None:
        toolchain = CMakeToolchain(self)
        for name in ("HELIP_BUILD_TESTS", "HELIP_BUILD_PYTHON", "HELIP_TORCH", "HELIP_CUDA"):
            toolchain.cache_variables[name] = "OFF"
        toolchain.cache_variables["HELIP_PNG"] = "ON"
        toolchain.cache_variables["HELIP_WEBP"] = "ON"
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self) -> None:
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self) -> None:
        copy(self, "LICENSE", self.source_folder, str(Path(self.package_folder) / "licenses"))
        CMake(self).install()

    def package_info(self) -> None:
        # helip's own package of CMake is used; CMakeDeps makes none.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs.append("lib/cmake/helip")
        self.cpp_info.libs = ["helip_data", "helip"]
        if self.settings.os == "Linux":
            self.cpp_info.system_libs = ["pthread"]
