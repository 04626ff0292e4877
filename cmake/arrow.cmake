# Apache Arrow's C++ libraries (20 or newer) as Arrow::arrow_shared and Parquet::parquet_shared, where they are: Apache's own
# packages, or the Python package pyarrow, whose wheel holds the headers and both libraries. Sets DECANT_ARROW to what was found.
file(GLOB decant_pyarrow_default LIST_DIRECTORIES true "${DECANT_DEPS}/peers/lib/python3*/site-packages/pyarrow")
list(POP_FRONT decant_pyarrow_default decant_pyarrow_first)
set(DECANT_PYARROW "${decant_pyarrow_first}" CACHE PATH "The folder of the Python package pyarrow, where Arrow has no package of its own")

set(DECANT_ARROW "")
find_package(Arrow CONFIG QUIET)
find_package(Parquet CONFIG QUIET)
if(TARGET Arrow::arrow_shared AND TARGET Parquet::parquet_shared)
  set(DECANT_ARROW "Arrow ${Arrow_VERSION}")
else()
  file(GLOB decant_libarrow "${DECANT_PYARROW}/libarrow.so.*")
  file(GLOB decant_libparquet "${DECANT_PYARROW}/libparquet.so.*")
  if(decant_libarrow AND decant_libparquet AND EXISTS "${DECANT_PYARROW}/include/parquet/arrow/reader.h")
    add_library(Arrow::arrow_shared SHARED IMPORTED)
    add_library(Parquet::parquet_shared SHARED IMPORTED)
    set_target_properties(Arrow::arrow_shared PROPERTIES IMPORTED_LOCATION "${decant_libarrow}")
    set_target_properties(Parquet::parquet_shared PROPERTIES IMPORTED_LOCATION "${decant_libparquet}")
    target_include_directories(Arrow::arrow_shared SYSTEM INTERFACE "${DECANT_PYARROW}/include")
    target_link_libraries(Parquet::parquet_shared INTERFACE Arrow::arrow_shared)
    # The wheel's libparquet exports a simdjson of another version than the machine's; that one has to be found first by us, and the
    # wheel's own is only used for types that nobody registers (docs/decisions/0011-parquet-out-of-the-wheel.md).
    target_link_options(Parquet::parquet_shared INTERFACE "SHELL:LINKER:--push-state,--no-as-needed -lsimdjson LINKER:--pop-state")
    set(DECANT_ARROW "${DECANT_PYARROW}")
  endif()
endif()
if(DECANT_PARQUET AND NOT DECANT_ARROW)
  message(FATAL_ERROR "DECANT_PARQUET needs Apache Arrow's C++ libraries: found neither packages of them (libarrow-dev and libparquet-dev "
    "of Apache's repository) nor the Python package pyarrow; give the latter's folder as -DDECANT_PYARROW=.../site-packages/pyarrow")
endif()
