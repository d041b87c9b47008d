# An overlay port: vcpkg install helip --overlay-ports=packaging/vcpkg/ports. It builds the sources
# that it lies in; a registry puts vcpkg_from_github() in place of the next line.
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../../.." ABSOLUTE)

# Its visibility and its tables of instruction sets are those of a shared library.
vcpkg_check_linkage(ONLY_DYNAMIC_LIBRARY)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DHELIP_BUILD_TESTS=OFF
    -DHELIP_BUILD_PYTHON=OFF
    -DHELIP_TORCH=OFF
    -DHELIP_CUDA=OFF
    -DHELIP_PNG=ON
    -DHELIP_WEBP=ON
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME helip CONFIG_PATH lib/cmake/helip)
vcpkg_fixup_pkgconfig()
file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
