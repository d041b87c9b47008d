# Header-only libraries of the core: the system's where present, else a pinned commit.
include(FetchContent)

# helip_header_library(name header commit repository [subfolder])
function(helip_header_library name header commit repository)
  add_library(${name} INTERFACE)
  find_path(${name}_INCLUDE_DIR ${header})
  if(NOT ${name}_INCLUDE_DIR)
    message(STATUS "helip: ${header} is not installed; fetching ${repository} at ${commit}")
    # SOURCE_SUBDIR names no folder of theirs, so that only the sources are brought, not their build.
    FetchContent_Declare(${name}_sources GIT_REPOSITORY ${repository} GIT_TAG ${commit}
                         SOURCE_SUBDIR helip-uses-headers-only)
    FetchContent_MakeAvailable(${name}_sources)
    find_path(${name}_INCLUDE_DIR ${header} REQUIRED NO_DEFAULT_PATH
              PATHS "${${name}_sources_SOURCE_DIR}" PATH_SUFFIXES ${ARGN})
  endif()
  target_include_directories(${name} SYSTEM INTERFACE "${${name}_INCLUDE_DIR}")
endfunction()

find_package(nlohmann_json 3.11 CONFIG QUIET)
if(nlohmann_json_FOUND)
  add_library(helip_json INTERFACE)
  target_link_libraries(helip_json INTERFACE nlohmann_json::nlohmann_json)
else()
  helip_header_library(helip_json nlohmann/json.hpp 9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03
                       https://github.com/nlohmann/json.git include)
endif()

helip_header_library(helip_xxhash xxhash.h 94e5f23e736f2bb67ebdf90727353e65344f9fc0
                     https://github.com/Cyan4973/xxHash.git)
