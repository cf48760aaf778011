//! NumPy's file of one array, version 1.0
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).

/// Bytes of a `.npy` file. `kind` is NumPy's name of the element type, such as `<f4`; values are in
/// C order.
pub(super) fn to_npy(kind: &str, shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut sizes = String::new();
    for size in shape {
        sizes += &format!("{size}, ");
    }
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // Magic, version and length take 10 bytes; with the header they are a multiple of 64 and end in
    // a line break.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
    bytes.extend(values);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_one_that_numpy_writes() {
        let bytes = to_npy("<f4", &[2, 1], &[0; 8]);
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, ), }";
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert!(bytes[10..].starts_with(header.as_bytes()));
        assert_eq!((bytes.len(), bytes[127]), (128 + 8, b'\n'));
    }
}
