# No name in a kernel hides another. Macros such as CLF_EXTRA_ARGUMENTS pass arguments of the kernel on by name: where a
# variable of that name stands nearer, the call takes it, compiles, and answers wrong numbers. So clang's -Wshadow reads
# every program of cl/ with sets of options in which all features occur, those for NVIDIA as NVPTX (inline assembly).
# No program is left out; a set leaves out those that do not exist with its options.
cmake_minimum_required(VERSION 3.22)

# The text of a program, each include pasted once, one inside of #if too, as src/device/source.c does.
function(paste program output)
    set(text "#include \"${program}\"\n")
    set(seen "")
    while(text MATCHES "(^|\n)[ \t]*#[ \t]*include[ \t]*\"([^\"\n]+)\"[^\n]*")
        set(line "${CMAKE_MATCH_0}")
        set(path ${CMAKE_MATCH_2})
        set(body "")
        if(NOT path IN_LIST seen)
            file(READ ${root}/cl/${path} body)
            list(APPEND seen ${path})
        endif()
        string(FIND "${text}" "${line}" at)
        string(SUBSTRING "${text}" 0 ${at} before)
        string(LENGTH "${before}${line}" at)
        string(SUBSTRING "${text}" ${at} -1 after)
        set(text "${before}\n${body}${after}")
    endwhile()
    file(WRITE ${output} "${text}")
endfunction()

# check(<set> <lanes where a program takes 1 and 16> <programs> <but not these> <macros>...)
set(checked 0)
function(check set lanes programs but)
    list(TRANSFORM ARGN PREPEND -DCLF_)
    file(GLOB files RELATIVE ${root}/cl ${root}/cl/*/*.cl)
    foreach(file IN LISTS files)
        file(STRINGS ${root}/cl/${file} kernels REGEX "^ *(__)?kernel")
        if(NOT kernels OR NOT file MATCHES "${programs}" OR file MATCHES "${but}")
            continue()
        endif()
        set(target spir64-unknown-unknown)
        if(file MATCHES "nvidia") # halves are an extension there
            set(target nvptx64-nvidia-nvcl -Xclang -target-cpu -Xclang sm_80 -Xclang -cl-ext=+all)
        endif()
        set(own_lanes ${lanes})
        if(file MATCHES "vector|nystrom")
            set(own_lanes 16)
        elseif(file MATCHES "portable|reference|grad_mask|nvidia")
            set(own_lanes 1)
        endif()
        paste(${file} ${work}/${set}/${file})
        execute_process(COMMAND ${clang} -x cl -cl-std=CL1.2 -fsyntax-only -Xclang -finclude-default-header
                                -target ${target} -Wno-everything -Wshadow -Werror=shadow
                                -DCLF_LANES=${own_lanes} ${ARGN} ${work}/${set}/${file}
                        RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
        if(NOT status EQUAL 0)
            string(REPLACE "\n" "\n  " said "${said}") # CMake does not wrap indented lines
            message(SEND_ERROR "cl/${file}, ${set}:\n  ${said}")
        endif()
        math(EXPR checked "${checked} + 1")
    endforeach()
    set(checked ${checked} PARENT_SCOPE)
endfunction()

set(sizes D=64 E=64 ROWS=32 KEYS=32 COLUMNS=64 HEIGHT=4 WIDTH=16 DEPTH=16 STEPS=1 VECTOR=4 SIDE=16 TILE=16 SIZE=64
          RADIX=4 SPAN=32 WARPS=4 TALL=1 STAGES=4 CONSUMERS=2 DOWN=2 ACROSS=2 BLOCK_ROWS=64 BLOCK_COLUMNS=64 MARKS=64
          BLOCK_DEPTH=64 WEIGHT=0 BASE=0 DILATION=1 FROM=f16 TO=f32 A=f16 B=f16 C=f32 BIAS=f32 NVIDIA_EXACT_TARGET=1)
set(yes KEEP=1 ACCUMULATE=1 DIRECT=1 BACKWARD=1 FLIP=1 A_DEPTH=1 B_DEPTH=1 PAGES=1 PREFETCH=1 SIGNS=2 ${sizes})
set(no KEEP=0 ACCUMULATE=0 DIRECT=0 BACKWARD=0 FLIP=0 A_DEPTH=0 B_DEPTH=0 PAGES=0 PREFETCH=0 SIGNS=1 ${sizes})
set(some CAUSAL=1 WINDOW=1 GROUPS=2 SINKS=1)
set(most ${some} KEY_PADDING=1 DROPOUT=1 STARTS=3 LENGTHS=1 BOTTOM_RIGHT=1 SOFTCAP=1 ALIBI=1 PRESCALE=1 MAPS=1 RESULT=0
         EXTRA_0=table EXTRA_0_TYPE=float "SCORE_MOD(score,b,h,q,k)=score+CLF_GATHER(table,k)"
         "SCORE_SLOPE(score,b,h,q,k)=1.0f")
set(snippet "MASK_MOD(b,h,q,k)=k<=q")

# Without masks or much on the way back: nvidia_wgmma. Lists of tiles are those of snippets; lost.cl bends no scores.
check(all 16 "." "wgmma_.*ward|list_tiles|lost" STORAGE=1 BLOCKS=1 PATTERN=3 MASK=3 BITS=8 REST=1
      ${yes} ${most} ${snippet})
check(f32 1 "nvidia_mma_.*ward" "^$" STORAGE=0 MASK=2 ${sizes} ${most} ${snippet})
check(unmasked 1 "wgmma_forward" "^$" STORAGE=1 REST=1 ${sizes} ${most})
check(some 1 "wgmma_.*ward" "^$" STORAGE=1 ${sizes} ${some})
check(parts 1 "wgmma_f32" "^$" STORAGE=2 RESULT=0 ${sizes} ${some})
# Keys are gathered by lists of a pattern, nvidia_decode takes no f32, pooling needs its window.
check(listed 1 "." "wgmma_.*ward|gather" STORAGE=2 BLOCKS=2 MASK=1 BITS=4 ${no} ${some} ${snippet})
check(none 1 "." "wgmma_.*ward|gather|list_tiles|nvidia_decode|pooling" STORAGE=0 BLOCKS=0 BITS=0 ${no})
if(checked EQUAL 0)
    message(FATAL_ERROR "no programs in ${root}/cl")
endif()
message(STATUS "${checked} programs read")
