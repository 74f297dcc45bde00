# The CUDA back-end: host code by the project's compiler, passes.cu by nvcc. nvcc is called directly rather than through
# CMake's CUDA language, so that a toolkit unpacked anywhere (scripts/install_nvcc) serves as well as an installed one.
set(STEPBACK_CUDA_ARCHITECTURES "75;80;86;89;90" CACHE STRING
  "Compute capabilities to compile for; the last one also as PTX for later devices")

# An nvcc given by hand (-DSTEPBACK_NVCC=...), the one scripts/install_nvcc unpacked, then the machine's.
find_program(STEPBACK_NVCC nvcc
  HINTS "$ENV{STEPBACK_NVCC_DIR}/nvidia/cu13/bin" "${PROJECT_SOURCE_DIR}/build/nvcc/nvidia/cu13/bin"
        "$ENV{CUDA_HOME}/bin" "$ENV{CUDA_PATH}/bin"
  PATHS /usr/local/cuda/bin)
if(NOT STEPBACK_NVCC)
  message(FATAL_ERROR "STEPBACK_CUDA is ON and no nvcc was found: install the CUDA toolkit (13.0 or later), "
    "run scripts/install_nvcc, or give -DSTEPBACK_NVCC=/path/to/nvcc")
endif()
file(REAL_PATH "${STEPBACK_NVCC}" nvcc_path)
cmake_path(GET nvcc_path PARENT_PATH cuda_root)
cmake_path(GET cuda_root PARENT_PATH cuda_root)
find_path(STEPBACK_CUDA_INCLUDE cuda_runtime_api.h NO_DEFAULT_PATH REQUIRED
  PATHS "${cuda_root}/include" "${cuda_root}/targets/x86_64-linux/include" /usr/local/cuda/include /usr/include)
find_library(STEPBACK_CUDART cudart_static NO_DEFAULT_PATH REQUIRED
  PATHS "${cuda_root}/lib64" "${cuda_root}/lib" "${cuda_root}/targets/x86_64-linux/lib" /usr/local/cuda/lib64
        /usr/lib/x86_64-linux-gnu)
message(STATUS "CUDA back-end: ${STEPBACK_NVCC}, compute capabilities ${STEPBACK_CUDA_ARCHITECTURES}")

set(gencode)
foreach(arch IN LISTS STEPBACK_CUDA_ARCHITECTURES)
  list(APPEND gencode -gencode=arch=compute_${arch},code=sm_${arch})
endforeach()
list(GET STEPBACK_CUDA_ARCHITECTURES -1 newest)
list(APPEND gencode -gencode=arch=compute_${newest},code=compute_${newest})

# The numerics of docs/decisions/0002: no contraction, IEEE division and root, denormals kept.
set(numerics --fmad=false -prec-div=true -prec-sqrt=true -ftz=false)
set(object "${CMAKE_CURRENT_BINARY_DIR}/cuda/passes.o")
add_custom_command(OUTPUT ${object}
  COMMAND sh -c "\"$@\" >\"$0\" 2>&1 || { cat \"$0\"; exit 1; }" ${object}.ptxas
          ${STEPBACK_NVCC} -std=c++20 -O3 ${numerics} ${gencode} --expt-relaxed-constexpr -diag-suppress=445
          -ccbin ${CMAKE_CXX_COMPILER} -Xcompiler=-fPIC,-ffp-contract=off,-Wall -Xptxas=-v
          -I${PROJECT_SOURCE_DIR} -MD -MF ${object}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/cuda/passes.cu -o ${object}
  DEPENDS cuda/passes.cu
  DEPFILE ${object}.d
  COMMENT "Compiling CUDA passes (registers and spills: ${object}.ptxas)"
  VERBATIM)
set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)

target_sources(stepback_kernels PRIVATE
  ${object} cuda/average.cc cuda/backend.cc cuda/commit.cc cuda/fold.cc cuda/memory.cc)
target_include_directories(stepback_kernels SYSTEM PRIVATE ${STEPBACK_CUDA_INCLUDE})
target_link_libraries(stepback_kernels PUBLIC ${STEPBACK_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)

if(STEPBACK_TESTS OR STEPBACK_KERNELS_ONLY)
  add_subdirectory(cuda/check)
endif()
