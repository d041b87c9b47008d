# Libraries that decode images: libjpeg-turbo, the system's or, with HELIP_FETCH, a pinned commit;
# libpng and libwebp where they are.
include(CheckCXXSourceCompiles)

set(HELIP_PNG "AUTO" CACHE STRING "Decode PNG: ON, OFF or AUTO")
set(HELIP_WEBP "AUTO" CACHE STRING "Decode WebP: ON, OFF or AUTO")

add_library(helip_image_libraries INTERFACE)

find_package(JPEG QUIET)
if(JPEG_FOUND)
  # Other libraries of that name cannot decode a part of an image.
  set(CMAKE_REQUIRED_LIBRARIES JPEG::JPEG)
  check_cxx_source_compiles("#include <cstdio>
    #include <jpeglib.h>
    int main() { return jpeg_crop_scanline == nullptr || jpeg_skip_scanlines == nullptr; }"
    HELIP_JPEG_DECODES_PARTS)
  unset(CMAKE_REQUIRED_LIBRARIES)
endif()
if(HELIP_JPEG_DECODES_PARTS)
  target_link_libraries(helip_image_libraries INTERFACE JPEG::JPEG)
elseif(NOT HELIP_FETCH)
  helip_is_missing(libjpeg-turbo libjpeg-dev)
else()
  message(STATUS "helip: libjpeg-turbo is not installed; building it from source")
  include(ExternalProject)
  set(jpeg_prefix "${CMAKE_BINARY_DIR}/libjpeg-turbo")
  set(jpeg_library "${jpeg_prefix}/lib/libjpeg.a")
  ExternalProject_Add(helip_libjpeg_turbo
    GIT_REPOSITORY https://github.com/libjpeg-turbo/libjpeg-turbo.git
    GIT_TAG 20ade4dea9589515a69793e447a6c6220b464535  # 3.1.0
    PREFIX "${CMAKE_BINARY_DIR}/libjpeg-turbo-build"
    CMAKE_ARGS -DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON
      -DENABLE_SHARED=OFF -DWITH_TURBOJPEG=OFF -DCMAKE_INSTALL_LIBDIR=lib
      -DCMAKE_INSTALL_PREFIX=${jpeg_prefix} -DCMAKE_C_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}
    BUILD_BYPRODUCTS "${jpeg_library}")
  file(MAKE_DIRECTORY "${jpeg_prefix}/include")
  add_library(helip_jpeg STATIC IMPORTED)
  set_target_properties(helip_jpeg PROPERTIES IMPORTED_LOCATION "${jpeg_library}"
    INTERFACE_INCLUDE_DIRECTORIES "${jpeg_prefix}/include")
  add_dependencies(helip_jpeg helip_libjpeg_turbo)
  target_link_libraries(helip_image_libraries INTERFACE helip_jpeg)
endif()

if(NOT HELIP_PNG STREQUAL "OFF")
  find_package(PNG QUIET)
  if(PNG_FOUND)
    target_link_libraries(helip_image_libraries INTERFACE PNG::PNG)
    target_compile_definitions(helip_image_libraries INTERFACE HELIP_HAS_PNG)
  elseif(HELIP_PNG STREQUAL "ON")
    message(FATAL_ERROR "helip: HELIP_PNG is ON, but libpng is not installed; install libpng-dev")
  endif()
endif()

if(NOT HELIP_WEBP STREQUAL "OFF")
  find_path(HELIP_WEBP_INCLUDE_DIR webp/decode.h)
  find_library(HELIP_WEBP_LIBRARY webp)
  if(HELIP_WEBP_INCLUDE_DIR AND HELIP_WEBP_LIBRARY)
    target_include_directories(helip_image_libraries SYSTEM INTERFACE "${HELIP_WEBP_INCLUDE_DIR}")
    target_link_libraries(helip_image_libraries INTERFACE "${HELIP_WEBP_LIBRARY}")
    target_compile_definitions(helip_image_libraries INTERFACE HELIP_HAS_WEBP)
  elseif(HELIP_WEBP STREQUAL "ON")
    message(FATAL_ERROR "helip: HELIP_WEBP is ON, but libwebp is not installed; install libwebp-dev")
  endif()
endif()
