# The manual pages, made from the programs' own --help into build/man, and where they are installed. Their names are
# known only when the programs have run, so the directory is what is installed.
include(GNUInstallDirs)

set(man_stamp ${PROJECT_BINARY_DIR}/man/made)
# jobyard-store after jobyard, which knows nothing of its verbs.
set(man_programs jobyard jobyard-store jobyard-broker jobyard-worker)
if(TARGET jobyard-bench)
  list(APPEND man_programs jobyard-bench)
endif()
set(man_commands)
foreach(program ${man_programs})
  list(APPEND man_commands COMMAND ${program} --generate ${PROJECT_BINARY_DIR})
endforeach()
add_custom_command(OUTPUT ${man_stamp}
  COMMAND ${CMAKE_COMMAND} -E rm -rf ${PROJECT_BINARY_DIR}/man  # a verb that is gone leaves no page
  ${man_commands}
  COMMAND ${CMAKE_COMMAND} -E touch ${man_stamp}
  DEPENDS ${man_programs} COMMENT "Writing the manual pages" VERBATIM)
add_custom_target(jobyard_man ALL DEPENDS ${man_stamp})

# With its program; those of the command line are all the others.
foreach(program broker worker)
  install(FILES ${PROJECT_BINARY_DIR}/man/jobyard-${program}.8 DESTINATION ${CMAKE_INSTALL_MANDIR}/man8
    COMPONENT ${program})
endforeach()
install(DIRECTORY ${PROJECT_BINARY_DIR}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT cli
  FILES_MATCHING PATTERN "*.1")
