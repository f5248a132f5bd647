package wine

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
)

// Layout of the library: headers, then one section.
const (
	fileAlignment    = 0x200
	sectionAlignment = 0x1000
	exportSize       = 40 // of the export directory itself
)

// exportDirectory is IMAGE_EXPORT_DIRECTORY of the PE format.
type exportDirectory struct {
	Characteristics, TimeDateStamp                            uint32
	MajorVersion, MinorVersion                                uint16
	Name, Base, NumberOfFunctions, NumberOfNames              uint32
	AddressOfFunctions, AddressOfNames, AddressOfNameOrdinals uint32
}

// forwarder makes a 64-bit Windows library without any code: its one function is
// another library's. target is written as library.function.
func forwarder(library, function, target string) []byte {
	section := exports(library, function, target)
	var out bytes.Buffer
	// A buffer takes whatever is written, and these types have a fixed size.
	write := func(v any) { _ = binary.Write(&out, binary.LittleEndian, v) }

	dos := make([]byte, 64)
	copy(dos, "MZ")
	binary.LittleEndian.PutUint32(dos[60:], uint32(len(dos))) // where the PE header is
	write(dos)
	write([]byte("PE\x00\x00"))
	write(pe.FileHeader{
		Machine: pe.IMAGE_FILE_MACHINE_AMD64, NumberOfSections: 1,
		SizeOfOptionalHeader: uint16(binary.Size(pe.OptionalHeader64{})),
		Characteristics:      pe.IMAGE_FILE_EXECUTABLE_IMAGE | pe.IMAGE_FILE_LARGE_ADDRESS_AWARE | pe.IMAGE_FILE_DLL,
	})
	header := pe.OptionalHeader64{
		Magic: 0x20b, SizeOfInitializedData: fileAlignment, BaseOfCode: sectionAlignment,
		ImageBase: 0x180000000, SectionAlignment: sectionAlignment, FileAlignment: fileAlignment,
		MajorOperatingSystemVersion: 6, MajorSubsystemVersion: 6,
		SizeOfImage: 2 * sectionAlignment, SizeOfHeaders: fileAlignment,
		Subsystem:           pe.IMAGE_SUBSYSTEM_WINDOWS_CUI,
		DllCharacteristics:  pe.IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE | pe.IMAGE_DLLCHARACTERISTICS_NX_COMPAT,
		NumberOfRvaAndSizes: 16,
	}
	header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_EXPORT] = pe.DataDirectory{VirtualAddress: sectionAlignment, Size: uint32(len(section))}
	write(header)
	write(pe.SectionHeader32{
		Name: [8]uint8{'.', 'r', 'd', 'a', 't', 'a'}, VirtualSize: uint32(len(section)), VirtualAddress: sectionAlignment,
		SizeOfRawData: fileAlignment, PointerToRawData: fileAlignment,
		Characteristics: pe.IMAGE_SCN_CNT_INITIALIZED_DATA | pe.IMAGE_SCN_MEM_READ,
	})
	file := make([]byte, 2*fileAlignment)
	copy(file, out.Bytes())
	copy(file[fileAlignment:], section)
	return file
}

// exports is the export directory, its three tables of one entry each, and the
// names. An address that lies inside of all this is a name to forward to.
func exports(library, function, target string) []byte {
	var out bytes.Buffer
	write := func(v any) { _ = binary.Write(&out, binary.LittleEndian, v) }
	tables := uint32(sectionAlignment + exportSize)
	names := tables + 4 + 4 + 2
	nameOf := func(before ...string) uint32 {
		at := names
		for _, s := range before {
			at += uint32(len(s)) + 1
		}
		return at
	}
	write(exportDirectory{
		Name: nameOf(), Base: 1, NumberOfFunctions: 1, NumberOfNames: 1,
		AddressOfFunctions: tables, AddressOfNames: tables + 4, AddressOfNameOrdinals: tables + 8,
	})
	write(nameOf(library, function))
	write(nameOf(library))
	write(uint16(0))
	for _, s := range []string{library, function, target} {
		write(append([]byte(s), 0))
	}
	return out.Bytes()
}
