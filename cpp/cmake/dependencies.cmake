# Header-only libraries of the core: those of the system, else of HELIP_THIRD_PARTY, which an sdist
# brings along. With HELIP_FETCH they are fetched at a pinned commit; without it a build uses no
# network. What is found nowhere is collected, so that one line can name all of it.
option(HELIP_FETCH "Fetch libraries that are not installed, at pinned commits" OFF)
if(DEFINED ENV{HELIP_THIRD_PARTY})
  set(helip_third_party "$ENV{HELIP_THIRD_PARTY}")
else()
  set(helip_third_party "${PROJECT_SOURCE_DIR}/third-party")
endif()
set(HELIP_THIRD_PARTY "${helip_third_party}" CACHE PATH
    "Folder with headers of other libraries in include/, for a machine that lacks them")
include(FetchContent)

set(helip_missing "")
set(helip_missing_packages "")
macro(helip_is_missing what package)
  list(APPEND helip_missing "${what}")
  list(APPEND helip_missing_packages "${package}")
endmacro()

# helip_header_library(name header package commit repository [subfolder])
macro(helip_header_library name header package commit repository)
  add_library(${name} INTERFACE)
  find_path(${name}_INCLUDE_DIR ${header})
  find_path(${name}_INCLUDE_DIR ${header} NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH
            PATHS "${HELIP_THIRD_PARTY}/include")
  if(NOT ${name}_INCLUDE_DIR AND HELIP_FETCH)
    message(STATUS "helip: ${header} is not installed; fetching ${repository} at ${commit}")
    # SOURCE_SUBDIR names no folder of theirs, so that only the sources are brought, not their build.
    FetchContent_Declare(${name}_sources GIT_REPOSITORY ${repository} GIT_TAG ${commit}
                         SOURCE_SUBDIR helip-uses-headers-only)
    FetchContent_MakeAvailable(${name}_sources)
    find_path(${name}_INCLUDE_DIR ${header} REQUIRED NO_DEFAULT_PATH
              PATHS "${${name}_sources_SOURCE_DIR}" PATH_SUFFIXES ${ARGN})
  endif()
  if(${name}_INCLUDE_DIR)
    target_include_directories(${name} SYSTEM INTERFACE "${${name}_INCLUDE_DIR}")
  else()
    helip_is_missing(${header} ${package})
  endif()
endmacro()

find_package(nlohmann_json 3.11 CONFIG QUIET)
if(nlohmann_json_FOUND)
  add_library(helip_json INTERFACE)
  target_link_libraries(helip_json INTERFACE nlohmann_json::nlohmann_json)
else()
  helip_header_library(helip_json nlohmann/json.hpp nlohmann-json3-dev
                       9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03
                       https://github.com/nlohmann/json.git include)
endif()

helip_header_library(helip_xxhash xxhash.h libxxhash-dev 94e5f23e736f2bb67ebdf90727353e65344f9fc0
                     https://github.com/Cyan4973/xxHash.git)
helip_header_library(helip_hnswlib hnswlib/hnswlib.h libhnswlib-dev 3f3429661187e4c24a490a0f148fc6bc89042b3d
                     https://github.com/nmslib/hnswlib.git)
