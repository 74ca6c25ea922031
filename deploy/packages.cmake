# Debian packages: `cmake --preset package && cmake --build --preset package && cpack --preset package`.
#
# The two libraries are one package: they are made together and their SONAMEs change together. The programs do not need
# it, because they are linked with the archives.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR jobyard)
set(CPACK_PACKAGE_CONTACT "The jobyard authors <jobyard@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON)  # so that units are written for /usr and not for where they are staged
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL broker worker cli libs dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)

function(jobyard_package component package section depends summary text)
  string(TOUPPER ${component} id)
  set(CPACK_DEBIAN_${id}_PACKAGE_NAME ${package} PARENT_SCOPE)
  set(CPACK_DEBIAN_${id}_PACKAGE_SECTION ${section} PARENT_SCOPE)
  set(CPACK_DEBIAN_${id}_PACKAGE_DEPENDS "${depends}" PARENT_SCOPE)
  set(CPACK_COMPONENT_${id}_DESCRIPTION "${summary}\n${text}" PARENT_SCOPE)
  # Of a package, not of an installation from source.
  install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/${package} RENAME copyright
    COMPONENT ${component} EXCLUDE_FROM_ALL)
endfunction()

set(users "systemd | systemd-standalone-sysusers | systemd-sysusers")
jobyard_package(broker jobyard-broker misc "${users}" "durable job broker"
  "Keeps jobs in order and on disk, hands them to workers, and loses none.")
jobyard_package(worker jobyard-worker misc "${users}" "runs the commands of jobyard jobs"
  "Takes jobs from a jobyard broker and runs them as the user jobyard-worker.")
jobyard_package(cli jobyard utils "" "command line of the jobyard job broker"
  "Submits jobs, waits for them, shows, lists and cancels them.")
jobyard_package(libs libjobyard${JOBYARD_SOVERSION} libs "" "C++ libraries of the jobyard job broker"
  "For programs that submit jobs and for workers of one's own.")
jobyard_package(dev libjobyard-dev libdevel "libjobyard${JOBYARD_SOVERSION} (= ${PROJECT_VERSION})"
  "C++ libraries of the jobyard job broker, for development"
  "Headers, archives, CMake package and pkg-config files. Linking the archives needs libzmq3-dev too.")
set(CPACK_DEBIAN_BROKER_PACKAGE_RECOMMENDS jobyard)
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "libzmq3-dev, cmake, pkg-config")

# What an administrator has changed survives an upgrade, and a removal until the purge.
macro(jobyard_conffile component name)
  set(conffiles ${CMAKE_CURRENT_BINARY_DIR}/debian/${component}/conffiles)
  file(CONFIGURE OUTPUT ${conffiles} CONTENT "/etc/jobyard/${name}.toml\n")
  file(CHMOD ${conffiles} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endmacro()

# The same scripts for both services.
foreach(program broker worker)
  set(service jobyard-${program})
  if(program STREQUAL broker)
    set(data /var/lib/jobyard)
    set(runtime /run/jobyard)
  else()
    set(data /var/lib/jobyard-worker)
    set(runtime)
  endif()
  set(scripts)
  foreach(script postinst prerm postrm)
    configure_file(debian/${script}.in debian/${program}/${script} @ONLY FILE_PERMISSIONS
      OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
    list(APPEND scripts ${CMAKE_CURRENT_BINARY_DIR}/debian/${program}/${script})
  endforeach()
  string(TOUPPER ${program} id)
  jobyard_conffile(${program} ${program})
  set(CPACK_DEBIAN_${id}_PACKAGE_CONTROL_EXTRA ${scripts} ${conffiles})
endforeach()
jobyard_conffile(cli client)
set(CPACK_DEBIAN_CLI_PACKAGE_CONTROL_EXTRA ${conffiles})

include(CPack)
